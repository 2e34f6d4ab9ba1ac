//! The command line: `aforo dev`, `aforo node`, `aforo config`, `aforo token` and `aforo loadtest`, and what their exit
//! codes mean.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{ConfigError, Layer, Loaded, Sources};
use crate::startup::{self, StartupError};
use crate::token::command::{self, CommandError, TokenCommand};

/// `EX_CONFIG` of sysexits.h: the configuration is wrong.
const EXIT_CONFIGURATION: u8 = 78;
/// `EX_UNAVAILABLE` of sysexits.h: something that the node depends on, such as a free port, is not there.
const EXIT_UNAVAILABLE: u8 = 69;
/// `EX_SOFTWARE` of sysexits.h: a part of the node died of a fault of ours.
const EXIT_SOFTWARE: u8 = 70;

/// Publish one stream by WebRTC, and any number of people watch it.
#[derive(Debug, Parser)]
#[command(name = "aforo", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run node and coordinator in one process: nothing else to install or start, open to whoever reaches it
    Dev(NodeFlags),
    /// Run a node that serves strangers: nobody comes in without a token
    ///
    /// It differs from `aforo dev` in one default: auth.required is true, so that publishing, watching and the API want a token,
    /// and a node that nobody could get into does not start. A file or the environment may set auth.required to false.
    /// For now it stands alone, with its coordinator in its own process, as `aforo dev` does; nodes that form a cluster over
    /// NATS are still to come.
    Node(NodeFlags),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make access tokens, and keys for them
    #[command(subcommand)]
    Token(TokenCommand),
    /// Put a server under load with synthetic publishers and viewers
    #[cfg(feature = "loadtest")]
    Loadtest(aforo_loadtest::command::Args),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the configuration that would be used
    Show {
        #[command(flatten)]
        flags: NodeFlags,
        /// Say for each value where it comes from
        #[arg(long)]
        origin: bool,
        /// The command that would use it: their defaults differ
        #[arg(long = "for", value_enum, value_name = "COMMAND", default_value_t = Start::Dev)]
        start: Start,
    },
    /// Say what is wrong with the configuration, if anything
    Check {
        #[command(flatten)]
        flags: NodeFlags,
        /// The command that would use it: their defaults differ
        #[arg(long = "for", value_enum, value_name = "COMMAND", default_value_t = Start::Dev)]
        start: Start,
    },
}

/// Commands that run a node.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Start {
    /// aforo dev
    Dev,
    /// aforo node
    Node,
}

impl Start {
    /// What its defaults are, where they differ from those that are documented.
    fn defaults(self) -> Layer {
        match self {
            Self::Dev => Layer::default(),
            // Whoever runs it means to serve strangers: what they forget to say must not open the door.
            Self::Node => Layer::command("aforo node", "auth.required", true.into()),
        }
    }
}

/// Flags that configure a node; each stands for one key of the configuration.
#[derive(Debug, Args)]
struct NodeFlags {
    /// YAML file to read the configuration from
    #[arg(long, value_name = "FILE", env = "AFORO_CONFIG")]
    config: Option<PathBuf>,
    /// Port or address:port of pages, WHIP, WHEP and API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "LISTEN")]
    http: Option<String>,
    /// Port or address:port of metrics and probes [default: 127.0.0.1:8081]
    #[arg(long, value_name = "LISTEN")]
    admin: Option<String>,
    /// First port, or address:port, for media; each shard takes one more [default: 0.0.0.0:7800]
    #[arg(long, value_name = "LISTEN")]
    udp: Option<String>,
    /// Media arbiters [default: one per core]
    #[arg(long, value_name = "COUNT")]
    shards: Option<u16>,
    /// Addresses that clients send media to, separated by commas [default: loopback and the host's primary addresses]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    advertise: Vec<IpAddr>,
}

impl NodeFlags {
    fn load(self, start: Start) -> Result<Loaded, ConfigError> {
        let advertise: Vec<String> = self.advertise.iter().map(IpAddr::to_string).collect();
        let advertise = (!advertise.is_empty()).then(|| advertise.join(","));
        let flags = Layer::default()
            .flag("--http", "http.listen", self.http)
            .flag("--admin", "admin.listen", self.admin)
            .flag("--udp", "media.udp", self.udp)
            .flag("--shards", "media.shards", self.shards)
            .flag("--advertise", "media.advertise", advertise);
        Sources { command: start.defaults(), file: self.config, flags }.load()
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Dev(flags) => serve(Start::Dev, flags),
        Command::Node(flags) => serve(Start::Node, flags),
        Command::Config(ConfigCommand::Show { flags, origin, start }) => loaded(start, flags, |loaded| {
            print!("{}", if origin { loaded.with_origins() } else { loaded.to_yaml() });
            ExitCode::SUCCESS
        }),
        Command::Config(ConfigCommand::Check { flags, start }) => loaded(start, flags, |_| {
            println!("the configuration is good");
            ExitCode::SUCCESS
        }),
        Command::Token(command) => token(command),
        #[cfg(feature = "loadtest")]
        Command::Loadtest(args) => aforo_loadtest::command::run(args).unwrap_or_else(|error| {
            eprintln!("aforo: {error:#}");
            aforo_loadtest::command::exit_code(&error)
        }),
    }
}

fn loaded(start: Start, flags: NodeFlags, then: impl FnOnce(&Loaded) -> ExitCode) -> ExitCode {
    match flags.load(start) {
        Ok(loaded) => then(&loaded),
        Err(error) => {
            eprintln!("aforo: {error}");
            ExitCode::from(EXIT_CONFIGURATION)
        }
    }
}

fn token(command: TokenCommand) -> ExitCode {
    match command::run(command) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("aforo: {}", with_causes(&error));
            // What is wrong with a key is wrong with the configuration.
            let bad_key = matches!(error, CommandError::Read(..) | CommandError::Key(..));
            if bad_key { ExitCode::from(EXIT_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

fn serve(start: Start, flags: NodeFlags) -> ExitCode {
    loaded(start, flags, |loaded| ExitCode::from(ended(startup::one_process(&loaded.config))))
}

/// Says why a node ended, and gives the process's exit code for it.
pub(crate) fn ended(result: Result<(), StartupError>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            say(&with_causes(&error));
            exit_code(&error)
        }
    }
}

/// To people in plain words; to whoever reads the log by machine, once there is one, as a line of it.
fn say(reason: &str) {
    if tracing::enabled!(tracing::Level::ERROR) && !std::io::stderr().is_terminal() {
        tracing::error!(reason, "node ends");
    } else {
        eprintln!("aforo: {reason}");
    }
}

fn exit_code(error: &StartupError) -> u8 {
    match error {
        StartupError::LogFilter { .. }
        | StartupError::Keys(_)
        | StartupError::Tls(_)
        | StartupError::Export(_) => EXIT_CONFIGURATION,
        StartupError::Http(_)
        | StartupError::Admin(_)
        | StartupError::Media(_)
        | StartupError::Identity(_)
        | StartupError::Metrics(_)
        | StartupError::Signals(_) => EXIT_UNAVAILABLE,
        StartupError::Died { .. } => EXIT_SOFTWARE,
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors repeat their cause in their own text.
        let own = error.to_string();
        if !text.contains(&own) {
            text.push_str(": ");
            text.push_str(&own);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_node_whose_actor_died_is_70_and_says_which() {
        let error = StartupError::Died { actor: "shard 1".to_owned() };
        assert_eq!(exit_code(&error), 70);
        assert!(with_causes(&error).contains("shard 1"));
    }
}
