//! The search of one ladder, which thinks in a thread of its own: while it does, the executor hears the engines of the other slots.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ceiling_core::search::{Answer, Observation, Search, Step};
use tokio::task::spawn_blocking;

/// A search and what it has seen so far. Given up in the middle of a thought, it still has its answers.
#[derive(Clone)]
pub struct Searching(Arc<Mutex<Box<dyn Search>>>);

impl Searching {
    /// With this search.
    pub fn new(search: Box<dyn Search>) -> Self {
        Self(Arc::new(Mutex::new(search)))
    }

    /// The next step.
    pub fn next(&self) -> Step {
        self.search().next()
    }

    /// What is known so far of each SLA.
    pub fn answers(&self) -> Vec<Answer> {
        self.search().answers()
    }

    /// Takes in what probes showed, in their order.
    pub async fn observe(&self, observations: Vec<Observation>) {
        let search = self.clone();
        let thought = spawn_blocking(move || observations.into_iter().for_each(|seen| search.search().observe(seen)));
        thought.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }

    fn search(&self) -> MutexGuard<'_, Box<dyn Search>> {
        // A panic of the search ends the run, so that nobody goes on with what it left.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use ceiling_core::load::Load;
    use ceiling_core::units::{Concurrency, Seconds};

    use super::*;

    /// Thinks of each observation until it is told to go on, or panics where nobody is left to tell it.
    struct Slow(Receiver<()>, usize);

    impl Search for Slow {
        fn next(&self) -> Step {
            Step::Done
        }

        fn observe(&mut self, _: Observation) {
            self.0.recv_timeout(Duration::from_secs(60)).expect("to be told");
            self.1 += 1;
        }

        fn answers(&self) -> Vec<Answer> {
            let status = ceiling_core::search::Status::Undecided;
            vec![Answer { status, highest_pass: None, lowest_fail: None, confidence: None, undecided: None }; self.1]
        }
    }

    fn observation() -> Observation {
        Observation {
            load: Load::Burst,
            concurrency: Concurrency::ONE,
            first_tokens_only: false,
            seconds: Seconds::ZERO,
            waited: Seconds::ZERO,
            opening: Vec::new(),
            held_up: Vec::new(),
            streamed: None,
            answered: Default::default(),
            under: Vec::new(),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn others_go_on_while_a_search_thinks() {
        let (tell, told) = channel();
        let searching = Searching::new(Box::new(Slow(told, 0)));
        // Were it to think here, nobody would tell it to go on.
        let other = async { (0..2).for_each(|_| tell.send(()).unwrap()) };
        tokio::join!(searching.observe(vec![observation(), observation()]), other);
        assert_eq!((searching.next(), searching.answers().len()), (Step::Done, 2));
    }

    #[tokio::test(flavor = "current_thread")]
    #[should_panic(expected = "to be told")]
    async fn a_search_that_panics_is_heard() {
        let (tell, told) = channel();
        drop(tell);
        Searching::new(Box::new(Slow(told, 0))).observe(vec![observation()]).await;
    }
}
