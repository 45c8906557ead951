//! A destination that holds what it was given, and answers when and as it is told.

use std::sync::{Arc, Mutex};

use foreshock_receivers::{Destination, Undelivered};

type Done = Box<dyn FnOnce(Result<(), Undelivered>) + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Safe,
    Later,
    Never,
    /// Says nothing until [`Held::answer`].
    Silent,
}

pub struct Held {
    mood: Mutex<Mood>,
    pub records: Mutex<Vec<(String, Vec<u8>)>>,
    waiting: Mutex<Vec<Done>>,
}

impl Held {
    pub fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self { mood: Mutex::new(mood), records: Mutex::default(), waiting: Mutex::default() })
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().expect("nobody panicked") = mood;
    }

    /// Answers all that wait.
    pub fn answer(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().expect("nobody panicked"));
        waiting.into_iter().for_each(|done| done(Ok(())));
    }

    pub fn waiting(&self) -> usize {
        self.waiting.lock().expect("nobody panicked").len()
    }

    /// Takes what was written.
    pub fn take(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut *self.records.lock().expect("nobody panicked"))
    }
}

impl Destination for Held {
    fn write(&self, topic: &str, payload: &[u8], done: Done) {
        self.records.lock().expect("nobody panicked").push((topic.to_owned(), payload.to_vec()));
        let mood = *self.mood.lock().expect("nobody panicked");
        match mood {
            Mood::Safe => done(Ok(())),
            Mood::Later => done(Err(Undelivered::Later("the brokers are away".to_owned()))),
            Mood::Never => done(Err(Undelivered::Never("the topic takes no such record".to_owned()))),
            Mood::Silent => self.waiting.lock().expect("nobody panicked").push(done),
        }
    }
}
