// What the RFCs say to a client that breaks a rule, in our own words.
//
// A rule is recognised by what the engine reports (an event: its occasion and detail) and by nothing else. `attempt`, where there
// is one, is how to break it: the server's options, and the pieces that arrive one after the other.

const hello = 'EHLO client.example\r\n';
const envelope = 'MAIL FROM:<ada@client.example>\r\nRCPT TO:<bob@mx.example>\r\n';

/** A section, as people write it and where it is. */
export function place([rfc, section]) {
  return {
    name: `RFC ${rfc}, section ${section}`,
    link: `https://www.rfc-editor.org/rfc/rfc${rfc}#section-${section}`,
  };
}

export const RULES = [
  {
    id: 'smuggling',
    when: /^content-refused \d+ The message has a LF without CR/,
    title: 'A line of a message ends with CRLF',
    where: [[5321, '2.3.8'], [5321, '4.1.1.4']],
    words: 'Only CR LF . CR LF ends a message. A server that also takes LF . LF for the end can be made to read a second, forged '
      + 'message out of the first one (SMTP smuggling). So a lone LF never ends anything here, and the message is refused at its true end.',
    attempt: { name: 'Smuggle a second message', pieces: [hello, envelope, 'DATA\r\n',
      'Subject: one\r\n\r\nFirst.\n.\nMAIL FROM:<forged@bank.example>\nRCPT TO:<bob@mx.example>\nDATA\nSubject: forged\n\nSecond.\r\n.\r\n'] },
  },
  {
    id: 'bare-cr',
    when: /^content-refused \d+ The message has a CR without LF/,
    title: 'CR stands only before LF',
    where: [[5321, '2.3.8']],
    words: 'A lone CR is no line end, and no octet of a message either. Programs that disagree on it see different lines.',
  },
  {
    id: 'plaintext',
    when: /^plaintext-discarded/,
    title: 'What comes before TLS does not count in TLS',
    where: [[3207, '4.2']],
    words: 'Somebody on the line can add commands behind STARTTLS. If they were kept and read after the handshake, they would '
      + 'seem to come from the client (CVE-2011-0411). Everything behind STARTTLS is thrown away, and after the handshake the session begins anew.',
    attempt: { name: 'Pipeline behind STARTTLS', options: { 'start-tls': true },
      pieces: [hello, 'STARTTLS\r\nMAIL FROM:<forged@bank.example>\r\n'] },
  },
  {
    id: 'tls-first',
    when: /^sequence-error 530 STARTTLS first/,
    title: 'This server wants TLS before anything else',
    where: [[3207, '4']],
    words: '530 asks for STARTTLS. Until then only NOOP, EHLO, STARTTLS and QUIT do anything.',
    attempt: { name: 'Send mail without TLS', options: { 'start-tls': true, 'require-tls': true }, pieces: [hello, 'MAIL FROM:<ada@client.example>\r\n'] },
  },
  {
    id: 'hello-first',
    when: /^sequence-error 503 Say (hello|EHLO) first/,
    title: 'A session begins with EHLO',
    where: [[5321, '4.1.4']],
    words: 'The client introduces itself before it sends mail; extensions exist only after EHLO said which there are.',
    attempt: { name: 'MAIL without EHLO', pieces: ['MAIL FROM:<ada@client.example>\r\n'] },
  },
  {
    id: 'mail-first',
    when: /^sequence-error 503 MAIL first/,
    title: 'MAIL, then RCPT, then DATA',
    where: [[5321, '3.3'], [5321, '4.1.4']],
    words: 'A transaction has an order: who sends, who receives, what. A command that is out of its order is answered by 503 and changes nothing.',
    attempt: { name: 'RCPT before MAIL', pieces: [hello, 'RCPT TO:<bob@mx.example>\r\n'] },
  },
  {
    id: 'no-recipients',
    when: /^sequence-error 503 No valid recipients/,
    title: 'Content needs at least one recipient',
    where: [[5321, '3.3']],
    words: 'DATA without an accepted RCPT is refused: the message would have nowhere to go.',
    attempt: { name: 'DATA without a recipient', pieces: [hello, 'MAIL FROM:<ada@client.example>\r\nDATA\r\n'] },
  },
  {
    id: 'nested',
    when: /^sequence-error 503 A transaction is open/,
    title: 'One transaction at a time',
    where: [[5321, '4.1.4']],
    words: 'A second MAIL before the first one is finished is refused. RSET gives the first one up.',
  },
  {
    id: 'chunks',
    when: /^sequence-error 503 (BDAT has begun|BODY=BINARYMIME needs BDAT)/,
    title: 'DATA and BDAT do not mix',
    where: [[3030, '2']],
    words: 'A message comes either by DATA, which ends with a dot, or in BDAT chunks, which say their length. Binary content has no lines, so only BDAT can carry it.',
  },
  {
    id: 'bdat',
    when: /Syntax: BDAT size|Cannot tell content from commands/,
    title: 'BDAT says how many octets follow',
    where: [[3030, '2']],
    words: 'Without a size nobody can tell content from commands, so there is no safe way to go on: the server answers and closes.',
    attempt: { name: 'BDAT without a size', pieces: [hello, envelope, 'BDAT many\r\nQUIT\r\n'] },
  },
  {
    id: 'long-line',
    when: /^syntax-error 500 Line too long/,
    title: 'A command line has an end',
    where: [[5321, '4.5.3.1.4']],
    words: 'A command line is at most 512 octets, some more with extensions. What is longer is skipped to its CRLF and never read as a command.',
    attempt: { name: 'A line that is too long', pieces: [hello, `NOOP ${'x'.repeat(3000)}\r\nQUIT\r\n`] },
  },
  {
    id: 'endless',
    when: /421 This line does not end/,
    title: 'A line that never ends',
    where: [[5321, '7.8']],
    words: 'A server protects itself against clients that only want to keep it busy.',
  },
  {
    id: 'bare-lf-command',
    when: /^syntax-error 500 Lines end with CRLF/,
    title: 'Commands end with CRLF',
    where: [[5321, '2.3.8'], [5321, '4.1.1']],
    words: 'A client must not end a command with LF or CR alone, and a server must not take it for the end: what follows on that line is thrown away.',
    attempt: { name: 'A command with LF only', pieces: [hello, 'NOOP\nQUIT\r\n'] },
  },
  {
    id: 'unknown',
    when: /^syntax-error 50[02] (Command not|A command is)/,
    title: 'A command that nobody knows',
    where: [[5321, '4.2.4']],
    words: '500 says that the command is not known, 502 that it is known and not there. Nothing changes, and the session goes on.',
    attempt: { name: 'An unknown command', pieces: [hello, 'HELLO WORLD\r\n'] },
  },
  {
    id: 'brackets',
    when: /stands in angle brackets|does not end with its bracket/,
    title: 'An address stands in angle brackets, right behind the colon',
    where: [[5321, '3.3'], [5321, '4.1.1.2']],
    words: 'MAIL FROM:<address>, without a space after the colon and without a name. Clients that write more get 501.',
    attempt: { name: 'A space after the colon', pieces: [hello, 'MAIL FROM: ada@client.example\r\n'] },
  },
  {
    id: 'address',
    when: /Bad (sender|recipient) address/,
    title: 'An address has a local part and a domain',
    where: [[5321, '4.1.2'], [5321, '4.5.3.1']],
    words: 'Dots stand between atoms only, other characters need quotes, labels of a domain are letters, digits and inner hyphens; 64 octets before the @, 255 behind it.',
    attempt: { name: 'Two dots in a row', pieces: [hello, 'MAIL FROM:<ada..l@client.example>\r\n'] },
  },
  {
    id: 'utf8',
    when: /Address needs SMTPUTF8/,
    title: 'Letters beyond ASCII have to be announced',
    where: [[6531, '3.3'], [6531, '3.4']],
    words: 'An address with such letters goes only to servers that offer SMTPUTF8, and MAIL has to say SMTPUTF8.',
    attempt: { name: 'An address with ü', pieces: [hello, 'MAIL FROM:<j\u00c3\u00bcrg@client.example>\r\n'] },
  },
  {
    id: 'octets',
    when: /not valid UTF-8|has a control character/,
    title: 'Commands are text',
    where: [[5321, '2.3.1'], [5321, '4.1.2']],
    words: 'Control characters stand nowhere in a command, and what is not ASCII has to be UTF-8.',
    attempt: { name: 'A NUL in a command', pieces: [hello, 'MAIL FROM:<a\0b@client.example>\r\n'] },
  },
  {
    id: 'parameter',
    when: /(Parameter|Bad parameters|Bad value of parameter|BY is less|Held for longer)/,
    title: 'Parameters of MAIL and RCPT',
    where: [[5321, '4.1.1.11'], [5321, '4.1.2']],
    words: 'A parameter is one that EHLO offered, given once, with a value that its extension allows. 555 says that it is not known here, 501 that it is misspelt.',
    attempt: { name: 'A parameter that is not offered', pieces: [hello, 'MAIL FROM:<ada@client.example> COLOR=blue\r\n'] },
  },
  {
    id: 'size',
    when: /Message too large|Chunk too large/,
    title: 'A message that is too large',
    where: [[1870, '6.1'], [1870, '6.3']],
    words: 'EHLO says the largest size. A client that announces more at MAIL is told at once, before it has sent anything.',
    attempt: { name: 'Announce 1 GB', options: { limits: { 'message-size': 10485760 } }, pieces: [hello, 'MAIL FROM:<ada@client.example> SIZE=1000000000\r\n'] },
  },
  {
    id: 'recipients',
    when: /Too many recipients/,
    title: 'Too many recipients at once',
    where: [[5321, '4.5.3.1.10']],
    words: 'At least 100 have to be taken. The ones beyond get 452: the client sends them the message in another transaction.',
  },
  {
    id: 'auth-tls',
    when: /538 Encryption required/,
    title: 'No password without TLS',
    where: [[4954, '6']],
    words: 'A mechanism that shows the password to whoever listens is refused outside of TLS.',
    attempt: { name: 'AUTH without TLS', options: { 'start-tls': true, 'tls-mechanisms': ['PLAIN'] }, pieces: [hello, 'AUTH PLAIN AGFkYQBzZWNyZXQ=\r\n'] },
  },
  {
    id: 'auth-first',
    when: /530 Authentication required/,
    title: 'This server wants a login first',
    where: [[4954, '6']],
    words: 'Submission servers take mail only from people they know: 530 asks for AUTH.',
    attempt: { name: 'Send without a login', options: { 'plaintext-mechanisms': ['PLAIN'], 'require-auth': true }, pieces: [hello, 'MAIL FROM:<ada@client.example>\r\n'] },
  },
  {
    id: 'auth',
    when: /Mechanism not available|Not base64|Bad base64|Authentication line too long|^auth-cancelled|Already authenticated/,
    title: 'The steps of AUTH',
    where: [[4954, '4']],
    words: 'A mechanism that EHLO listed, lines in base64 of at most 12288 octets, a single * to give up, and one login a session.',
    attempt: { name: 'Give up a login', options: { 'plaintext-mechanisms': ['PLAIN'] }, pieces: [hello, 'AUTH PLAIN\r\n', '*\r\n'] },
  },
  {
    id: 'not-here',
    when: /502 (EXPN|STARTTLS|AUTH|XCLIENT) is not available/,
    title: 'A command that this server does not have',
    where: [[5321, '4.2.4'], [5321, '7.3']],
    words: 'Lists are not shown to strangers, and extensions that EHLO did not name are not there.',
  },
  {
    id: 'in-tls',
    when: /503 TLS is active/,
    title: 'STARTTLS is done once',
    where: [[3207, '4.2']],
    words: 'Inside TLS there is no second STARTTLS; EHLO does not list it any more.',
  },
  {
    id: 'hello-argument',
    when: /Say your domain or address literal|The host name is too long/,
    title: 'EHLO names the client',
    where: [[5321, '4.1.1.1'], [5321, '4.1.3']],
    words: 'The argument is a domain, or an address in brackets. Many servers let others pass; this one was told not to.',
    attempt: { name: 'EHLO without a proper name', options: { 'strict-hello': true }, pieces: ['EHLO my_laptop!\r\n'] },
  },
  {
    id: 'lmtp',
    when: /This is LMTP|This is SMTP/,
    title: 'LMTP says LHLO',
    where: [[2033, '4.1']],
    words: 'LMTP is spoken to mailboxes, not between servers. LHLO instead of EHLO keeps the two apart.',
    attempt: { name: 'EHLO to an LMTP server', options: { protocol: 'lmtp' }, pieces: [hello] },
  },
  {
    id: 'usage',
    when: /^syntax-error 501 (Syntax:|\w+ takes no argument)/,
    title: 'How a command is written',
    where: [[5321, '4.1.1'], [5321, '4.2.2']],
    words: '501: the command is known and its argument is not what it takes. The reply shows how it is written.',
  },
  {
    id: 'timeout',
    when: /^timed-out/,
    title: 'Nobody waits for ever',
    where: [[5321, '4.5.3.2'], [5321, '3.8']],
    words: 'A server waits at least five minutes for a command and three between pieces of content. Then it says 421 and closes.',
    attempt: { name: 'Say nothing', pieces: [hello], wait: true },
  },
  {
    id: 'too-many',
    when: /^too-many-errors/,
    title: 'Patience ends',
    where: [[5321, '7.8'], [5321, '4.2.1']],
    words: 'A client that only makes mistakes, or only talks, is told 421. Limits of this kind are the server\'s own choice.',
    attempt: { name: 'Make mistakes', options: { limits: { errors: 3 } }, pieces: [hello, 'WHAT\r\nWHY\r\nHOW\r\nWHO\r\n'] },
  },
  {
    id: 'refused',
    when: /^refused /,
    title: 'The server does not want to',
    where: [[5321, '4.2.1'], [3463, '2']],
    words: '4yz means: not now, the client keeps the message and tries again. 5yz means never: the sender is told. The dotted number says why, for programs.',
  },
];

/** The rule that an event tells of. */
export function ruleOf({ occasion, detail }) {
  return RULES.find(({ when }) => when.test(`${occasion} ${detail}`)) ?? null;
}
