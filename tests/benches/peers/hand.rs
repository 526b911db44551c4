//! Threads that attack with networks of their own.

use anyhow::{Context, Result};
use gauntlet_core::model::Model;
use gauntlet_core::oracle::Passes;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use tch::Tensor;

/// Adversarials, and the passes that each of them took.
pub type Part = (Tensor, Vec<Passes>);

type Work = Box<dyn FnOnce(&dyn Model) + Send>;

/// A thread with a network of its own, like the engine's workers.
pub struct Hand(Sender<Work>);

impl Hand {
    pub fn new(model: Box<dyn Model>) -> Self {
        let (sender, work) = mpsc::channel::<Work>();
        thread::spawn(move || {
            tch::set_num_threads(1);
            for work in work {
                work(&*model);
            }
        });
        Self(sender)
    }

    pub fn give(
        &self,
        work: impl FnOnce(&dyn Model) -> Result<Part> + Send + 'static,
    ) -> Result<Receiver<Result<Part>>> {
        let (sender, result) = mpsc::channel();
        let work: Work = Box::new(move |model| drop(sender.send(work(model))));
        self.0.send(work).ok().context("the thread has ended")?;
        Ok(result)
    }
}
