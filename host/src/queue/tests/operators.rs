//! Operators who hold, release, retry and drop while the queue delivers.

use super::*;
use crate::store::{Change, Changed, EntryId, Filter};

/// What was dropped is not delivered, everything else is, and the queue is empty in the end; whoever was told "done" was told
/// the truth.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_by_operators() {
    const MESSAGES: usize = 300;
    let rig = Rig::new();
    let record = |id: MessageId| Verdicts {
        transaction: id.to_string(),
        message: Some(id),
        recipients: 1,
        judged: "dropped".into(),
        at: now(),
    };
    let accepted = async {
        let mut ids = Vec::new();
        for n in 0..MESSAGES {
            // Some are files.
            let content = vec![b'x'; if n % 10 == 0 { 100_000 } else { 100 }];
            ids.push(accept(&rig.store, &content, vec![entry("anna"), entry("berta")]).await);
        }
        ids
    };
    let operator = |drops: bool| {
        let store = rig.store.clone();
        tokio::spawn(async move {
            let (mut dropped, mut done) = (Vec::new(), 0);
            let mut quiet = 0;
            // Until nothing has been there for a while.
            while quiet < 20 {
                let entries = store.find(Filter::default(), None, 50).await.unwrap().entries;
                quiet = if entries.is_empty() { quiet + 1 } else { 0 };
                let mut changes: Vec<(EntryId, Change)> = Vec::new();
                for line in &entries {
                    let entry: EntryId = line.entry.parse().unwrap();
                    let change = match rand::random::<u8>() % 8 {
                        0..=1 => Change::Hold { reason: "held".into() },
                        2 => Change::Retry,
                        3 if drops => Change::Drop { record: record(entry.message), report: None },
                        _ => Change::Release,
                    };
                    changes.push((entry, change));
                }
                let said = store.change(changes.clone()).await.unwrap();
                for ((entry, change), said) in changes.into_iter().zip(said) {
                    if said == Changed::Done {
                        done += 1;
                        if let Change::Drop { .. } = change {
                            dropped.push(entry);
                        }
                    }
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            (dropped, done)
        })
    };
    let operators = [operator(true), operator(true), operator(false)];
    let (ids, ()) = tokio::join!(
        accepted,
        rig.run_until(|counts, _| operators.iter().all(|one| one.is_finished()) && *counts == Counts::default())
    );
    let (mut dropped, mut changes) = (Vec::new(), 0);
    for operator in operators {
        let (mine, done) = operator.await.unwrap();
        dropped.extend(mine);
        changes += done;
    }
    let mail: Vec<String> =
        ["anna", "berta"].iter().flat_map(|name| rig.mail(&format!("{name}@example.test")).into_keys()).collect();
    let mut wrong = Vec::new();
    for message in &ids {
        for index in 0..2 {
            let entry = EntryId { message: *message, index };
            let copies = mail.iter().filter(|name| name.contains(&format!("{message}_{index}."))).count();
            let drops = dropped.iter().filter(|one| **one == entry).count();
            if copies + drops != 1 {
                wrong.push(format!("{entry}: {copies} copies, dropped {drops} times"));
            }
        }
    }
    assert!(wrong.is_empty(), "of {changes} changes: {wrong:#?}");
    assert!(changes > 50 && !dropped.is_empty() && !mail.is_empty(), "{changes} {} {}", dropped.len(), mail.len());
}
