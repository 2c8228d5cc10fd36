//! Where a path leads that may be a symbolic link: what is written by replacing a file replaces what the link names.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Symbolic links followed before it is called a loop, as Linux does.
const LINKS_MAX: usize = 40;

/// Follows symbolic links to a path that is none, whether or not it exists; `path` itself when a pipe or a device is there.
///
/// # Errors
/// When they lead in a circle.
pub fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_path_buf();
    // What has no name is behind links that only opening follows: `/dev/stdout` says `pipe:[N]`, where no file is.
    if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Ok(at);
    }
    for _ in 0..LINKS_MAX {
        match at.read_link() {
            Ok(to) => at = at.parent().unwrap_or_else(|| Path::new("")).join(to),
            // Not a link, or not there: opening it says the rest.
            Err(_) => return Ok(at),
        }
    }
    Err(Errno::LOOP.into())
}
