//! The clients: a process of their own, a thread for each, all at once in every round.

use std::path::PathBuf;
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::common::{now, role};
use crate::losses::{Loss, winner};
use crate::subject::{Booked, Subject, Way};

/// Task of the clients.
#[derive(Debug, Args)]
pub struct Task {
    /// Way to get a port.
    way: Way,
    clients: u16,
    rounds: u32,
    /// The service's API socket.
    socket: PathBuf,
    /// Every other loser keeps its lease for a while, as a program that tries again does.
    #[arg(long)]
    patient: bool,
}

impl Task {
    /// The command line that says so.
    pub fn arguments(way: Way, clients: u16, rounds: u32, patient: bool) -> Vec<String> {
        let mut arguments = vec![way.word(), clients.to_string(), rounds.to_string()];
        arguments.extend(patient.then(|| "--patient".to_owned()));
        arguments
    }
}

/// Result of all clients.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Number of rounds.
    pub rounds: u32,
    /// Time of all rounds together.
    pub seconds: f64,
    /// Number of clients that listened on their port.
    pub wins: u64,
    /// Number of requests that got no port.
    pub refused: u64,
    /// Why, the last time.
    pub refusal: Option<String>,
    /// Those who were given a port and could not bind it.
    pub losses: Vec<Loss>,
}

/// Longest delay before a client binds: programs take time to start.
const A_MOMENT: Duration = Duration::from_millis(20);

/// Time that a patient loser keeps its lease: the service looks once a second.
const PATIENCE: Duration = Duration::from_millis(2_200);

/// Number of rounds without any port after which a way is abandoned.
const HOPELESS: u32 = 3;

/// Runs the rounds and says what came of it.
pub fn want_ports(task: &Task) -> Result<()> {
    let tally = Mutex::new(Tally::default());
    let barrier = Barrier::new(task.clients.into());
    let clients = (0..task.clients)
        .map(|_| task.way.client(&task.socket))
        .collect::<Result<Vec<_>>>()?;
    role::ready();
    let begin = now();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..)
            .zip(clients)
            .map(|(number, subject)| {
                let client = Client {
                    number,
                    subject,
                    task,
                    tally: &tally,
                };
                scope.spawn(|| client.run(&barrier))
            })
            .collect();
        running.into_iter().for_each(drop);
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.seconds = begin.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&tally)?);
    Ok(())
}

struct Client<'a> {
    number: u16,
    subject: Box<dyn Subject + Send>,
    task: &'a Task,
    tally: &'a Mutex<Tally>,
}

impl Client<'_> {
    fn run(mut self, barrier: &Barrier) {
        for round in 1..=self.task.rounds {
            barrier.wait();
            let booked = self.book();
            let listener = booked.as_ref().and_then(|booked| self.listen(booked));
            // All of a round listen at the same time.
            barrier.wait();
            drop(listener);
            if let Some(Err(error)) = booked.map(|booked| self.subject.give_back(booked)) {
                // The others would wait for this one for ever.
                eprintln!("  a port could not be given back: {error:#}");
                std::process::exit(1);
            }
            barrier.wait();
            if self.number == 0 {
                self.progress(round);
            }
            if round == HOPELESS && self.tally(|tally| tally.wins == 0 && tally.losses.is_empty()) {
                break;
            }
        }
    }

    fn book(&mut self) -> Option<Booked> {
        match self.subject.book() {
            Ok(booked) => Some(booked),
            Err(error) => self.tally(|tally| {
                tally.refused += 1;
                tally.refusal = Some(error.to_string());
                None
            }),
        }
    }

    fn listen(&mut self, booked: &Booked) -> Option<socket2::Socket> {
        let moment = u64::try_from(A_MOMENT.as_micros()).unwrap_or(u64::MAX);
        std::thread::sleep(Duration::from_micros(fastrand::u64(..moment)));
        if let Ok(listener) = self.subject.listen(booked) {
            self.tally(|tally| tally.wins += 1);
            return Some(listener);
        }
        let patient = self.task.patient && self.number.is_multiple_of(2);
        let loss = Loss {
            lease: booked.lease.clone(),
            winner: winner(booked.port),
            patient,
        };
        self.tally(|tally| tally.losses.push(loss));
        if patient {
            std::thread::sleep(PATIENCE);
        }
        None
    }

    fn tally<T>(&self, note: impl FnOnce(&mut Tally) -> T) -> T {
        note(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn progress(&self, round: u32) {
        self.tally(|tally| tally.rounds = round);
        if round.is_multiple_of(100) {
            let losses = self.tally(|tally| tally.losses.len());
            eprintln!(
                "  {}: {round} rounds, {losses} losses",
                self.task.way.word()
            );
        }
    }
}
