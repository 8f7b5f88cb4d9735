//! Answers that are still good.
//!
//! Owns how many there are: two halves, of which the older one goes when the younger one is full; what is asked for again
//! moves to the younger one.

use std::{
    collections::HashMap,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_resolver::proto::rr::{Name, RecordType};

use super::{NoAnswer, answer::Found};

/// Records of an answer that is kept. More than these are asked for again.
const RECORDS: usize = 64;

type Key = (Name, RecordType);
type Kept = Result<Arc<Found>, NoAnswer>;

pub(super) struct Cache {
    /// Of each half.
    most: usize,
    young: HashMap<Key, (Kept, Instant)>,
    old: HashMap<Key, (Kept, Instant)>,
}

impl Cache {
    /// For so many answers.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most / 2, young: HashMap::new(), old: HashMap::new() }
    }

    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Kept> {
        if let Some((kept, until)) = self.young.get(key) {
            return (now < *until).then(|| kept.clone());
        }
        let (key, (kept, until)) = self.old.remove_entry(key)?;
        if now >= until {
            return None;
        }
        self.insert(key, kept.clone(), until);
        Some(kept)
    }

    pub(super) fn put(&mut self, key: Key, answer: &Kept, keep: Duration, now: Instant) {
        let small = answer.as_ref().map_or(true, |found| found.data.len() <= RECORDS);
        if self.most > 0 && small && !keep.is_zero() {
            self.old.remove(&key);
            self.insert(key, answer.clone(), now + keep);
        }
    }

    fn insert(&mut self, key: Key, kept: Kept, until: Instant) {
        if self.young.len() >= self.most && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, (kept, until));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (Name::from_ascii(name).unwrap(), RecordType::A)
    }

    const NOTHING: Kept = Err(NoAnswer::NotFound { exists: false, secure: false });

    #[test]
    fn what_is_too_old_or_too_much_goes() {
        let start = Instant::now();
        let mut cache = Cache::new(20);
        cache.put(key("a.example"), &NOTHING, Duration::from_secs(10), start);
        cache.put(key("never.example"), &NOTHING, Duration::ZERO, start);
        assert_eq!(cache.get(&key("A.example"), start + Duration::from_secs(9)), Some(NOTHING), "case does not matter");
        assert_eq!(cache.get(&key("a.example"), start + Duration::from_secs(10)), None);
        assert_eq!(cache.get(&key("never.example"), start), None);
        cache.put(key("asked.example"), &NOTHING, Duration::from_secs(10), start);
        for number in 0..1000 {
            cache.put(key(&format!("{number}.example")), &NOTHING, Duration::from_secs(10), start);
            assert!(cache.young.len() + cache.old.len() <= 20, "{number}");
            assert_eq!(cache.get(&key("asked.example"), start), Some(NOTHING), "what is asked for stays: {number}");
        }
        assert_eq!(cache.get(&key("1.example"), start), None);
    }
}
