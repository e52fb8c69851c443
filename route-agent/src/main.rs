fn main() -> std::process::ExitCode {
    route_agent::main()
}
