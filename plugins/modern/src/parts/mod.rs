//! What the attacks share: losses, projections, proximal operators, schedules, random numbers.
//!
//! A change is an M×C×H×W tensor, one row per image. M numbers, one per image, are M×1 where they
//! meet flat rows and M×1×1×1 where they meet images.

mod ball;
mod boundary;
mod hyperplane;
mod kernel;
mod loss;
mod nearest;
mod proximal;
mod rows;
mod schedule;
mod streams;
mod tile;

pub use ball::{clip, l0_ball, l1_ball, l1_ball_in_box};
pub use boundary::{Boundary, dual, most_likely, nearest_boundary};
pub use hyperplane::to_hyperplane;
pub use kernel::Kernel;
pub use loss::{Loss, toward};
pub use nearest::Nearest;
pub use proximal::proximal;
pub use rows::{dot, in_batches, keep, length, per_image, rows_of, some, unit};
pub use schedule::{Checkpoints, cosine, exponential};
pub use streams::Streams;
pub use tile::noise_tile;
