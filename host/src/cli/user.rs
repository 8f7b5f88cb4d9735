//! `hermetic user`: who may log in.
//!
//! Owns the conversation with the operator. Refuses to know how a password is kept: that is [`policy::auth`]'s. Fails
//! by [`UserError`], one sentence for the terminal.
//!
//! [`policy::auth`]: crate::policy::auth

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::{
    config::Config,
    policy::auth::{UsersError, UsersFile},
};

/// A password is one line; this bounds what is read. Octets.
const PASSWORD_MOST: u64 = 4096;

/// What to do with the users file.
#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Let somebody log in. Asks for the password, or reads the first line of standard input.
    Add {
        /// The login, as the mail program will send it; usually the whole address.
        name: String,
        /// Read the password from the first line of this file.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Show who may log in.
    List,
    /// Take somebody's login away.
    Remove {
        /// The login.
        name: String,
    },
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The file, the name or the password.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// No password came.
    #[error("cannot read the password from {from}: {error}")]
    Password {
        /// The terminal, standard input or a file.
        from: String,
        /// Why.
        error: io::Error,
    },
    /// Typed twice, differently.
    #[error("the two passwords are not the same; nothing was changed")]
    Differ,
    /// Nobody reads what is said.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Does it, and says what was done on standard output.
pub fn run(command: &UserCommand, config: &Config) -> Result<(), UserError> {
    run_on(command, &config.users_file(), &mut io::stdout().lock())
}

fn run_on(command: &UserCommand, path: &Path, output: &mut dyn Write) -> Result<(), UserError> {
    match command {
        UserCommand::Add { name, password_file } => {
            // Before the operator has typed a password that cannot be used.
            UsersFile::load(path)?.check_new(name)?;
            let password = password(name, password_file.as_deref())?;
            let mut kept = String::new();
            UsersFile::edit(path, |users| {
                kept = users.add(name, &password)?;
                Ok(())
            })?;
            writeln!(output, "{kept} can log in now; a running server sees it within seconds.")?;
        }
        UserCommand::List => {
            let users = UsersFile::load(path)?;
            if users.names().next().is_none() {
                writeln!(output, "Nobody can log in yet. To change that: hermetic user add NAME")?;
            }
            for name in users.names() {
                writeln!(output, "{name}")?;
            }
        }
        UserCommand::Remove { name } => {
            UsersFile::edit(path, |users| users.remove(name))?;
            writeln!(output, "{name} can no longer log in.")?;
        }
    }
    Ok(())
}

fn password(name: &str, file: Option<&Path>) -> Result<String, UserError> {
    let (from, read) = match file {
        Some(path) => (path.display().to_string(), fs::File::open(path).and_then(first_line)),
        None if io::stdin().is_terminal() => {
            let from = || "the terminal".to_owned();
            let ask = |prompt: &str| ask(prompt).map_err(|error| UserError::Password { from: from(), error });
            let first = ask(&format!("Password for {name}: "))?;
            return if ask("The same again: ")? == first { Ok(first) } else { Err(UserError::Differ) };
        }
        None => ("standard input".to_owned(), first_line(io::stdin().lock())),
    };
    read.map_err(|error| UserError::Password { from, error })
}

/// Without its line end.
pub(super) fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    io::BufReader::new(from.take(PASSWORD_MOST)).read_line(&mut line)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Asks on standard error, so that standard output stays clean, and reads without echo.
pub(super) fn ask(prompt: &str) -> io::Result<String> {
    /// Puts the terminal back as it was.
    struct Restore(rustix::termios::Termios);
    impl Drop for Restore {
        fn drop(&mut self) {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
            eprintln!();
        }
    }
    eprint!("{prompt}");
    io::stderr().flush()?;
    let restore = Restore(tcgetattr(io::stdin())?);
    let mut silent = restore.0.clone();
    silent.local_modes -= LocalModes::ECHO;
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
    let mut line = String::new();
    io::stdin().lock().take(PASSWORD_MOST).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_user_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, secret) = (folder.path().join("data/users.toml"), folder.path().join("password"));
        fs::write(&secret, "pencil\r\nnot this\n").unwrap();
        let check = |command: UserCommand, expected: &str| {
            let mut output = Vec::new();
            let said = match run_on(&command, &path, &mut output) {
                Ok(()) => String::from_utf8(output).unwrap(),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(expected), "{command:?} said: {said}");
        };
        let add = |name: &str, file: &Path| UserCommand::Add { name: name.into(), password_file: Some(file.into()) };
        check(UserCommand::List, "Nobody can log in yet");
        check(add("anna@example.test", &secret), "anna@example.test can log in now");
        check(add("anna@example.test", &secret), "there is a user \"anna@example.test\" already");
        check(add("", &secret), "cannot be a user name");
        check(add("berta", Path::new("/nowhere")), "cannot read the password from /nowhere");
        fs::write(&secret, "\nsecond line").unwrap();
        check(add("berta", &secret), "the password must not be empty");
        check(UserCommand::List, "anna@example.test\n");
        check(UserCommand::Remove { name: "berta".into() }, "there is no user \"berta\"");
        check(UserCommand::Remove { name: "anna@example.test".into() }, "can no longer log in");
        check(UserCommand::List, "Nobody can log in yet");
    }
}
