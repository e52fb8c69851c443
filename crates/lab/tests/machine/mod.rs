//! A lab on this machine for a test, made by the program that is under test, and removed also when the test fails.

use std::fs::Permissions;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, Client};
use lab::Lab;
use lab::namespace::Namespace;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;

/// A lab that is up.
#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    /// The links of the machine itself, before the lab.
    pub(crate) links_before: Vec<String>,
}

impl Machine {
    pub(crate) fn up(name: &str, options: &[&str]) -> Self {
        let lab = Self::unmade(name);
        lab.ok(&[&["up"], options].concat());
        lab
    }

    /// A lab that nothing is made of yet.
    pub(crate) fn unmade(name: &str) -> Self {
        Self {
            name: unique(name),
            links_before: Self::links_of_the_machine(),
        }
    }

    /// Starts to make a lab, and kills that after a while.
    pub(crate) fn up_killed_after(name: &str, pause: Duration) {
        let mut command = Self::program(&unique(name), &["up"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Not a wait for something: the point is to strike anywhere.
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Kills the making of a lab that has begun to start processes, each of which leaves a child that nobody wrote down and that
    /// takes a second to get where it should.
    pub(crate) fn up_killed_at_a_process(&self) {
        let directory = tempfile::tempdir().unwrap();
        let (slow, began) = (directory.path().join("slow"), directory.path().join("began"));
        let script = format!(
            "#!/bin/sh\n(sleep 1; exec {} \"$@\") &\ntouch {}\nwait\n",
            env!("CARGO_BIN_EXE_tombolo-lab"),
            began.display()
        );
        std::fs::write(&slow, script).unwrap();
        std::fs::set_permissions(&slow, Permissions::from_mode(0o755)).unwrap();
        let mut command = Self::program(&self.name, &["up"]);
        command
            .env("TOMBOLO_LAB_PROGRAM", &slow)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !began.exists() {
            assert!(Instant::now() < deadline, "no process is started");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Takes the lab down, twice, and sees that nothing is left of it.
    pub(crate) fn down(&self) {
        self.ok(&["down"]);
        self.ok(&["down"]);
        let left = Namespace::all_of(&self.name.parse().unwrap()).unwrap();
        assert!(left.is_empty(), "namespaces are left: {left:?}");
        assert!(!self.directory().exists(), "files are left");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&format!("tl-{}-", self.name)), "mounts are left");
        let needle = format!("--name\0{}\0", self.name);
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let commands = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let alive: Vec<String> = commands
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .filter(|line| line.contains(&needle))
            .collect();
        assert!(alive.is_empty(), "processes are left: {alive:?}");
    }

    pub(crate) fn ok(&self, arguments: &[&str]) {
        self.output(arguments);
    }

    /// What a command says, without the last line's end.
    pub(crate) fn output(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = Self::program(&self.name, arguments).output().unwrap();
        assert!(
            status.success(),
            "lab {arguments:?} failed: {}",
            String::from_utf8_lossy(&stderr)
        );
        String::from_utf8(stdout).unwrap().trim_end().to_owned()
    }

    /// What a command says that has to fail.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let Output { status, stderr, .. } = Self::program(&self.name, arguments).output().unwrap();
        assert!(!status.success(), "lab {arguments:?} should have failed");
        String::from_utf8(stderr).unwrap()
    }

    pub(crate) fn succeeds(&self, arguments: &[&str]) -> bool {
        Self::program(&self.name, arguments).output().unwrap().status.success()
    }

    /// Whether a TCP connection from one host to another is answered.
    pub(crate) fn connects(&self, from: &str, to: &str, address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        let listener = self
            .namespace(to)
            .inside(|| TcpListener::bind((address, 0)).unwrap())
            .unwrap();
        let target = listener.local_addr().unwrap();
        let connected = self
            .namespace(from)
            .inside(|| TcpStream::connect_timeout(&target, Duration::from_secs(2)));
        connected.unwrap().is_ok()
    }

    /// Whether a datagram that must not be fragmented arrives.
    pub(crate) fn udp(&self, from: &str, to: &str, address: &str, payload: usize) -> bool {
        let address: Ipv6Addr = address.parse().unwrap();
        let receiver = self
            .namespace(to)
            .inside(|| UdpSocket::bind((address, 0)).unwrap())
            .unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let sender = self
            .namespace(from)
            .inside(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap())
            .unwrap();
        setsockopt(&sender, sockopt::Ipv6DontFrag, &true).unwrap();
        match sender.send_to(&vec![0; payload], receiver.local_addr().unwrap()) {
            Ok(_) => receiver.recv(&mut vec![0; payload]).unwrap() == payload,
            Err(error) => {
                assert_eq!(
                    error.raw_os_error(),
                    Some(nix::errno::Errno::EMSGSIZE as i32),
                    "{error}"
                );
                false
            }
        }
    }

    pub(crate) fn eventually(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(
                Instant::now() < deadline,
                "waited too long until {what}\n{}",
                self.output(&["status"])
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        PathBuf::from("/run/tombolo-lab").join(&self.name)
    }

    pub(crate) fn apply(&self, cluster: &str, manifests: &str) {
        let file = self.directory().join("manifests.yaml");
        std::fs::write(&file, manifests).unwrap();
        self.ok(&["apply", cluster, "--file", file.to_str().unwrap()]);
    }

    /// A pod as the API server has it; null when there is none or no answer.
    pub(crate) fn pod(&self, cluster: &str, namespace: &str, name: &str) -> Value {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.with_client(cluster, move |client| async move {
            let pod = Api::<Pod>::namespaced(client, &namespace).get_opt(&name).await;
            Ok(serde_json::to_value(pod.ok().flatten()).unwrap())
        })
    }

    pub(crate) fn delete_pod(&self, cluster: &str, namespace: &str, name: &str) {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.with_client(cluster, move |client| async move {
            Api::<Pod>::namespaced(client, &namespace)
                .delete(&name, &DeleteParams::default())
                .await?;
            Ok(())
        });
    }

    pub(crate) fn is_ready(&self, cluster: &str, namespace: &str, names: &[&str]) -> bool {
        let is_true = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        names.iter().all(|name| {
            let pod = self.pod(cluster, namespace, name);
            pod.pointer("/status/conditions")
                .and_then(Value::as_array)
                .is_some_and(|all| all.iter().any(is_true))
        })
    }

    /// The process of a pod's first container.
    pub(crate) fn pid(&self, cluster: &str, pod: &str) -> Option<i64> {
        let status = json(&self.output(&["status", "-o", "json"]));
        let clusters = status["clusters"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|found| found["name"] == cluster);
        let hosts = clusters.flat_map(|cluster| cluster["hosts"].as_array().unwrap());
        let mut pods = hosts.flat_map(|host| host["pods"].as_array().unwrap());
        pods.find(|found| found["name"] == pod)?["containers"][0]["pid"].as_i64()
    }

    /// proc(5)'s `status` of a pod's first container.
    pub(crate) fn process_status(&self, cluster: &str, pod: &str) -> String {
        let pid = self.pid(cluster, pod).expect("the container runs");
        std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
    }

    pub(crate) fn links_of_the_machine() -> Vec<String> {
        let entries = std::fs::read_dir("/proc/sys/net/ipv4/conf").unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Runs `work` in the namespace of a host.
    pub(crate) fn inside<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        self.namespace(host).inside(work).unwrap()
    }

    fn namespace(&self, place: &str) -> Namespace {
        Namespace::of(&self.name.parse().unwrap(), &place.replace('/', "-"))
    }

    fn with_client<T, F>(&self, cluster: &str, work: impl FnOnce(Client) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = anyhow::Result<T>>,
    {
        let lab = Lab::open(&self.name.parse().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(lab.with_client(cluster, work)).unwrap()
    }

    fn program(name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-lab"));
        command
            .arg("lab")
            .args(arguments.first())
            .args(["--name", name])
            .args(&arguments[1..])
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Self::program(&self.name, &["down"]).output();
    }
}

/// Whether labs can be made here. A test that cannot run says why, unless it must run.
pub(crate) fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        assert!(
            std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_none(),
            "this test needs root, and must not be skipped"
        );
        println!("skipped: making network namespaces takes root");
    }
    is_root
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Several runs of the tests may share the machine.
fn unique(name: &str) -> String {
    format!("{name}{:x}", std::process::id() % 0xffff)
}
