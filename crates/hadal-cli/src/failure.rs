//! How a command ends when it does not end well: a message, help, and an exit code.

use std::fmt::Display;

/// Everything went well.
pub const OK: u8 = 0;
/// Something failed: a file, a download, a shape.
pub const ERROR: u8 = 1;
/// The command line or the configuration was wrong.
pub const USAGE: u8 = 2;
/// The training diverged: the loss is not a number any more.
pub const DIVERGED: u8 = 3;
/// Ctrl-C; 128 + the signal's number, as shells count.
pub const INTERRUPTED: u8 = 130;

/// Why a command ended early.
#[derive(Debug)]
pub struct Failure {
    /// What is printed after `error: `; empty for nothing at all.
    message: String,
    /// Lines of help.
    help: Vec<String>,
    /// The program's exit code.
    code: u8,
    /// Whether data is not there and could not be downloaded.
    missing_data: bool,
}

/// The result of a command.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// An ordinary failure: exit code 1.
    pub fn new(message: impl Display) -> Failure {
        Failure { message: message.to_string(), help: Vec::new(), code: ERROR, missing_data: false }
    }

    /// A wrong command line: exit code 2.
    pub fn usage(message: impl Display) -> Failure {
        Failure::new(message).code(USAGE)
    }

    /// An end without a word, with this exit code.
    pub fn quiet(code: u8) -> Failure {
        Failure::new("").code(code)
    }

    /// Adds a line that says what to do.
    #[must_use]
    pub fn help(mut self, line: impl Display) -> Failure {
        self.help.push(line.to_string());
        self
    }

    /// Sets the exit code.
    #[must_use]
    pub fn code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }

    /// Says which file it is about, where the message does not.
    #[must_use]
    pub fn of(mut self, path: &std::path::Path) -> Failure {
        let name = path.display().to_string();
        if !self.message.contains(&name) {
            self.message = format!("{name}: {}", self.message);
        }
        self
    }

    /// Whether the command line or the configuration was wrong.
    pub fn is_usage(&self) -> bool {
        self.code == USAGE
    }

    /// Whether data is not there and could not be downloaded.
    pub fn is_missing_data(&self) -> bool {
        self.missing_data
    }

    /// What is wrong, for programs: a status and the message.
    pub fn status(&self) -> (&'static str, &str) {
        (if self.code == DIVERGED { "diverged" } else { "failed" }, &self.message)
    }

    /// Prints the failure on standard error and returns the exit code.
    pub fn report(&self, color: bool) -> u8 {
        use std::io::Write;
        if !self.message.is_empty() {
            let (red, bold, plain) = if color { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
            let mut text = format!("{red}error:{plain} {}\n", self.message.trim_end());
            for line in &self.help {
                text.push_str(&format!("  {bold}help:{plain} {line}\n"));
            }
            // Standard error may be closed; there is nobody left to tell then.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        self.code
    }
}

/// Writing to standard output failed. A closed pipe (`hadal … | head`) is no error: the reader has
/// what it wanted.
pub fn output(e: std::io::Error) -> Failure {
    if e.kind() == std::io::ErrorKind::BrokenPipe {
        return Failure::quiet(OK);
    }
    Failure::new(format!("cannot write to standard output: {e}"))
}

impl From<hadal::io::IoError> for Failure {
    fn from(e: hadal::io::IoError) -> Failure {
        // The hint ends the text after a semicolon; here it gets a line of its own.
        let (text, hint) = (e.to_string(), e.hint());
        match text.strip_suffix(hint).and_then(|t| t.strip_suffix("; ")) {
            Some(problem) if !hint.is_empty() => Failure::new(problem).help(hint),
            _ => Failure::new(text),
        }
    }
}

impl From<hadal::data::DataError> for Failure {
    fn from(e: hadal::data::DataError) -> Failure {
        match e {
            hadal::data::DataError::Image(e) => e.into(),
            e @ (hadal::data::DataError::Missing(_) | hadal::data::DataError::Download(_)) => {
                Failure { missing_data: true, ..Failure::new(e) }
            }
            e => Failure::new(e),
        }
    }
}

impl From<hadal::Error> for Failure {
    fn from(e: hadal::Error) -> Failure {
        Failure::new(e)
    }
}

impl From<hadal::files::FileError> for Failure {
    fn from(e: hadal::files::FileError) -> Failure {
        match e {
            hadal::files::FileError::Io(e) => e.into(),
            e => Failure::new(e),
        }
    }
}

impl From<hadal::train::TrainError> for Failure {
    fn from(e: hadal::train::TrainError) -> Failure {
        use hadal::train::TrainError as E;
        match e {
            E::Data(e) => e.into(),
            E::Io(e) => e.into(),
            E::Tensor(e) => e.into(),
            E::Run { path, message } => match message.rsplit_once("; ") {
                Some((problem, remedy)) => {
                    Failure::new(format!("{}: {problem}", path.display())).help(remedy)
                }
                None => Failure::new(format!("{}: {message}", path.display())),
            },
            e @ E::Diverged { .. } => Failure::new(e).code(DIVERGED),
            e => Failure::new(e),
        }
    }
}
