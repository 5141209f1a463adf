//! What is printed. Whoever reads it may stop to (`| head`, a lost connection): that ends nothing, least of all a run.

use std::io::{ErrorKind, Write};
use std::sync::OnceLock;

static FAILURE: OnceLock<String> = OnceLock::new();

/// Prints a line to the standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::text(&format!("{}\n", format_args!($($text)*))) };
}

/// Tells people something, in a line on the standard error. What comes from files or engines stands in it as text, and
/// steers no terminal.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::output::aside(&$crate::report::printable(&format!("{}\n", format_args!($($text)*))))
    };
}

/// Prints to the standard output.
pub fn text(text: &str) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            FAILURE.get_or_init(|| format!("cannot write to the standard output: {error}"));
        }
        _ => {}
    }
}

/// Prints to the standard error.
pub fn aside(text: &str) {
    // There is nobody left to tell that nobody is told.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// What kept some of it from being printed, other than that nobody reads it any more.
pub fn failure() -> Option<&'static str> {
    FAILURE.get().map(String::as_str)
}
