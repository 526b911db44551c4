//! The page of a made-up study, as text and in a browser.

mod browser;
mod made_up;
mod page;
