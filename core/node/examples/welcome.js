// What the examples test: it welcomes a new user by mail, and tries again once when it is told to.

import nodemailer from 'nodemailer';

/** @returns {Promise<'sent' | 'later' | 'no such address'>} */
export async function welcome(address, { host, port }) {
  const transport = nodemailer.createTransport({ host, port, ignoreTLS: true });
  const letter = { from: 'hello@shop.example', to: address, subject: 'Welcome', text: 'Good to have you here.' };
  try {
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        await transport.sendMail(letter);
        return 'sent';
      } catch (error) {
        if (error.responseCode >= 500) return 'no such address';
        // Anything else, a lost connection too, may be better in a moment.
      }
    }
    return 'later';
  } finally {
    transport.close();
  }
}
