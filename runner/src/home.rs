//! Where Gauntlet's own folder is on this machine.

use std::env;
use std::path::PathBuf;

/// Gauntlet's own folder: `GAUNTLET_HOME`, or else `gauntlet` in the user's data folder, which is
/// `XDG_DATA_HOME` or `~/.local/share`. None if none of these is known.
pub fn home() -> Option<PathBuf> {
    let folder = |variable| {
        env::var_os(variable).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty())
    };
    folder("GAUNTLET_HOME").or_else(|| {
        // The XDG base directory specification says to ignore a relative one.
        let data = folder("XDG_DATA_HOME").filter(|path| path.is_absolute());
        Some(data.or_else(|| Some(folder("HOME")?.join(".local/share")))?.join("gauntlet"))
    })
}

/// The folder that `runner weights` fills, in Gauntlet's own. None if that is not known.
pub fn folder() -> Option<PathBuf> {
    Some(home()?.join("weights"))
}
