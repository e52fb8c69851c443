fn main() -> std::process::ExitCode {
    lighthouse_dns::main()
}
