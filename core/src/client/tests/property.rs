//! For any peer: where its octets are split changes nothing, freezing changes nothing, nothing panics, and each recipient has
//! one outcome.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::rig::{How, Rig, Wish, mail, transaction, with};
use crate::client::{Need, Options, Protocol};

const SAYS: &[&str] = &[
    "220 mail.test\r\n",
    "250 ok\r\n",
    "250 ok\r\n",
    "250 2.1.5 ok\r\n",
    "250-a\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 DSN\r\n",
    "250-a\r\n250-PIPELINING\r\n250-PRDR\r\n250 LIMITS RCPTMAX=2\r\n",
    "250-a\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n",
    "354 go\r\n",
    "354 go\r\n",
    "353 each\r\n",
    "334 \r\n",
    "235 in\r\n",
    "450 later\r\n",
    "550 5.1.1 no\r\n",
    "452 4.5.3 many\r\n",
    "421 bye\r\n",
    "250-x\r\n",
    "x\r\n",
    "250 x\n",
];

fn wishes() -> Vec<Wish> {
    let content = b".\r\nx\r\n..\r\ny";
    vec![
        Wish::Login("PLAIN", Some(b"\0a\0b"), vec![b"x"]),
        Wish::Deliver(transaction("s@me.test", &["a@b.test", "c@b.test", "d@e.test"], content), content.to_vec()),
        mail(&["e@f.test", "\u{e4}@f.test"]),
        mail(&["g@f.test"]),
    ]
}

/// The peer says one thing each time that the session wants input, then the connection is lost.
fn run(options: &Options, wishes: &[Wish], says: &[&str], how: How) -> Rig {
    let mut rig = Rig::new(options, wishes, how);
    for said in says {
        if rig.need == Need::Close {
            break;
        }
        rig.hear(said.as_bytes());
        rig.work();
        assert!(rig.wake > rig.now || rig.need == Need::Close);
    }
    if rig.need != Need::Close {
        rig.lose();
    }
    rig
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_peer(
        kind in 0..4_usize,
        hello in 0..SAYS.len(),
        says in proptest::collection::vec(0..SAYS.len(), 0..24),
        piece in 1..12_usize,
    ) {
        let options = with(|options| {
            options.protocol = if kind == 1 { Protocol::Lmtp } else { Protocol::Smtp };
            options.plaintext_auth = kind != 2;
            options.tls = if kind == 3 { crate::client::TlsUse::Never } else { crate::client::TlsUse::Opportunistic };
            options.limits.pipeline = 1 + kind as u32 * 2;
        });
        // Without a login to begin with where AUTH may not be used.
        let wishes = &wishes()[1..];
        let says: Vec<&str> = [SAYS[0], SAYS[hello]].into_iter().chain(says.iter().map(|place| SAYS[*place])).collect();
        let plain = run(&options, wishes, &says, super::rig::PLAIN);
        for how in [
            How { icy: true, piece: usize::MAX, content: usize::MAX },
            How { icy: false, piece, content: usize::MAX },
            How { icy: true, piece: 1, content: usize::MAX },
        ] {
            let other = run(&options, wishes, &says, how);
            prop_assert_eq!(&plain.sent, &other.sent, "{:?} {:?}", how, says);
            prop_assert_eq!(plain.told(), other.told(), "{:?} {:?}", how, says);
        }
        // One outcome for each recipient of each transaction that was begun, in the order of transactions.
        let mut left: &[crate::client::Outcome] = &plain.outcomes;
        for wish in wishes {
            let Wish::Deliver(transaction, _) = wish else { continue };
            if left.is_empty() {
                break;
            }
            let (own, rest) = left.split_at(transaction.recipients.len().min(left.len()));
            let mut places: Vec<u32> = own.iter().map(|outcome| outcome.recipient).collect();
            places.sort_unstable();
            let all: Vec<u32> = (0..).take(transaction.recipients.len()).collect();
            prop_assert_eq!(places, all, "{:?}", says);
            left = rest;
        }
        prop_assert!(left.is_empty());
    }
}
