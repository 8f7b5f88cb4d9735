//! The `hermetic` command.

fn main() -> std::process::ExitCode {
    hermetic::cli::main()
}
