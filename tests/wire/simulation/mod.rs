//! Simulations in virtual time, each from one seed: the engine alone, the whole server, and
//! several servers behind relays.
//!
//! Each run draws a fresh seed. A failure prints the seed of its world and the step; `NEWSWIRE_SEED=…` replays
//! it. `NEWSWIRE_STEPS=…` sets how many steps each simulation makes in all.
//!
//! Never here: what happens in a world (its own file).

mod dialect;
mod engine;
mod fleet;
mod history;
mod member;
mod outside;
mod relay;
mod server;
mod sources;
mod stores;
mod subscriber;
mod truth;
mod yard;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kit::dice::{number, seed};

/// A world that goes on step by step, and comes to an end.
trait World {
    fn new(seed: u64) -> Self;

    fn step(&mut self);

    /// Everybody leaves, and nothing may be left.
    fn end(&mut self);
}

fn run<W: World>(seed: u64, steps: u64) {
    let step = Cell::new(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = W::new(seed);
        while step.get() < steps {
            world.step();
            step.set(step.get() + 1);
        }
        world.end();
    }));
    if let Err(panic) = outcome {
        eprintln!("NEWSWIRE_SEED={seed} fails at step {}", step.get());
        resume_unwind(panic);
    }
}

/// Makes `steps` steps, or as many as the environment says, in worlds of `steps_per_world`.
fn simulate<W: World>(steps: u64, steps_per_world: u64) {
    let steps = number("NEWSWIRE_STEPS").unwrap_or(steps);
    let seed = seed();
    if number("NEWSWIRE_SEED").is_some() {
        return run::<W>(seed, steps.min(steps_per_world));
    }
    let worlds = steps.div_ceil(steps_per_world);
    println!("{worlds} worlds from NEWSWIRE_SEED={seed} on");
    for world in 0..worlds {
        run::<W>(seed + world, steps_per_world);
    }
}
