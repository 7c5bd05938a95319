//! Answers of the API server that are kept for a while, in bounded number. Who asks for the same at
//! the same time waits for one answer.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

/// Values, and for how long each is good.
#[derive(Debug)]
pub(super) struct Kept<K, V> {
    entries: Mutex<HashMap<K, Entry<V>>>,
    most: usize,
}

type Cell<V> = Arc<OnceCell<(V, Duration)>>;

#[derive(Debug)]
struct Entry<V> {
    since: Instant,
    cell: Cell<V>,
}

impl<V> Entry<V> {
    /// What is not there yet is on its way.
    fn is_good(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        self.cell.get().is_none_or(|(_, good_for)| age < *good_for)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Kept<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: Mutex::default(), most }
    }

    /// The value of a key; made by `make`, with the former one, when there is none that is good.
    pub(super) async fn get<F>(&self, key: &K, make: impl FnOnce(Option<V>) -> F) -> V
    where
        F: Future<Output = (V, Duration)>,
    {
        let (cell, former) = self.cell(key, Instant::now());
        let (value, _) = cell.get_or_init(|| make(former)).await;
        value.clone()
    }

    fn cell(&self, key: &K, now: Instant) -> (Cell<V>, Option<V>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let former = match entries.get(key) {
            Some(entry) if entry.is_good(now) => return (Arc::clone(&entry.cell), None),
            Some(entry) => entry.cell.get().map(|(value, _)| value.clone()),
            None => None,
        };
        if entries.len() >= self.most {
            entries.retain(|_, entry| entry.is_good(now));
        }
        if entries.len() >= self.most
            && let Some(oldest) = entries.iter().min_by_key(|(_, entry)| entry.since)
        {
            let oldest = oldest.0.clone();
            entries.remove(&oldest);
        }
        let cell = Cell::default();
        entries.insert(key.clone(), Entry { since: now, cell: Arc::clone(&cell) });
        (cell, former)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_asks_at_the_same_time_waits_for_one_answer() {
        let (kept, made) = (Kept::new(8), AtomicU32::new(0));
        let ask = || {
            kept.get(&"key", async |_| {
                tokio::task::yield_now().await;
                (made.fetch_add(1, Ordering::Relaxed), LONG)
            })
        };
        assert_eq!(tokio::join!(ask(), ask(), ask()), (0, 0, 0));
    }

    #[tokio::test]
    async fn an_answer_that_is_over_is_asked_for_anew_with_the_former_at_hand() {
        let kept = Kept::new(8);
        assert_eq!(kept.get(&"key", async |_| (1, Duration::ZERO)).await, 1);
        let next = kept.get(&"key", async |former| (former.unwrap_or_default() + 1, LONG)).await;
        assert_eq!(next, 2);
        assert_eq!(kept.get(&"key", async |_| (9, LONG)).await, 2);
    }

    #[tokio::test]
    async fn there_are_never_more_than_so_many() {
        let kept = Kept::new(3);
        for key in 0..100 {
            kept.get(&key, async |_| (key, LONG)).await;
        }
        assert_eq!(kept.entries.lock().expect("no panic").len(), 3);
    }
}
