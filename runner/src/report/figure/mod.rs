//! Figures as SVG. All of it is laid out here, text too, so that a figure is the same in the
//! report, in a file of its own and as PNG.

mod canvas;
mod curves;
mod drawing;
mod frame;
mod heat_map;
mod intervals;
mod labels;
mod palette;
mod scale;
mod scatter;
mod text;

pub use canvas::escape;
pub use curves::{Curve, Curves};
pub use drawing::Figure;
pub use frame::{Axis, Name};
pub use heat_map::{HeatCell, HeatMap};
pub use intervals::{Interval, Intervals, Whisker};
pub use palette::{plain_style_sheet, style_sheet, variables};
pub use scale::{Kind, short};
pub use scatter::{Fit, FitPoint, Scatter, ScatterPoint};
pub use text::FONTS;
