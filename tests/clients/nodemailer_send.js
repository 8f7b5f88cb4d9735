// Sends one message with nodemailer.
//
// node nodemailer_send.js JSON < message       NODE_PATH names the folder that has nodemailer
//
// JSON: {transport: options of createTransport, envelope: {from, to, ...}, composed: true when nodemailer is to make the
// message from the text on standard input, dsn: {...}}. Prints the reply to the message.
const nodemailer = require('nodemailer');
const fs = require('fs');

const plan = JSON.parse(process.argv[2]);
const input = fs.readFileSync(0);
const transport = nodemailer.createTransport({
  host: '127.0.0.1',
  name: 'client.example.org',
  tls: { rejectUnauthorized: false },
  connectionTimeout: 15000,
  ...plan.transport,
});
const message = plan.composed
  ? {
      from: { name: 'Änne', address: plan.envelope.from },
      to: plan.envelope.to,
      subject: 'Grüße – ☃',
      headers: { 'X-Token': plan.composed },
      text: input.toString(),
      attachments: [{ filename: 'blöb.bin', content: input }],
    }
  : { envelope: plan.envelope, raw: input };
if (plan.dsn) message.dsn = plan.dsn;

transport.sendMail(message).then(
  (info) => {
    console.log(JSON.stringify({ response: info.response, accepted: info.accepted, rejected: info.rejected }));
    transport.close();
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
