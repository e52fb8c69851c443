//! A real kubectl against an API server of ours: what people type, and what they then see.

use std::process::{Command, Output};

use serde_json::Value;
use servers::Servers;

mod servers;

#[test]
fn the_commands_of_a_working_day() {
    let Some(kubectl) = Kubectl::find() else { return };
    kubectl.write("map.yaml", &map("1"));
    kubectl.sees("create -f map.yaml", "configmap/kc created");
    kubectl.fails("create -f map.yaml", "AlreadyExists");
    kubectl.sees("apply -f map.yaml", "configmap/kc configured");
    kubectl.sees("apply -f map.yaml", "configmap/kc unchanged");
    kubectl.write("map.yaml", &map("2"));
    kubectl.fails("diff -f map.yaml", "+  a: \"2\"");
    kubectl.sees(
        "apply -f map.yaml --dry-run=server",
        "configmap/kc configured (server dry run)",
    );
    kubectl.sees("get cm kc -o jsonpath={.data.a}", "1");
    kubectl.sees("apply -f map.yaml", "configmap/kc configured");
    kubectl.sees(
        "apply --server-side --force-conflicts -f map.yaml",
        "configmap/kc serverside-applied",
    );
    kubectl.sees("get cm kc -o jsonpath={.data.a}", "2");
    kubectl.sees("label cm kc x=y", "configmap/kc labeled");
    kubectl.sees("get cm -l x=y -o name", "configmap/kc");
    kubectl.sees("annotate cm kc x=y", "configmap/kc annotated");
    kubectl.sees(
        r#"patch cm kc --type=merge -p {"data":{"z":"1"}}"#,
        "configmap/kc patched",
    );
    kubectl.sees(
        r#"patch cm kc --type=json -p [{"op":"remove","path":"/data/z"}]"#,
        "configmap/kc patched",
    );
    kubectl.sees(
        "get cm kc -o yaml",
        "apiVersion: v1\ndata:\n  a: \"2\"\nkind: ConfigMap\n",
    );
    kubectl.sees("get cm -A --chunk-size=1", "kube-root-ca.crt");
    kubectl.sees("get cm kc -w --request-timeout=1s", "kc     1");
    kubectl.sees("describe cm kc", "Labels:       x=y");
    kubectl.sees("replace -f map.yaml", "configmap/kc replaced");
    kubectl.sees(
        "wait --for=jsonpath={.data.a}=2 cm/kc --timeout=10s",
        "configmap/kc condition met",
    );
    kubectl.sees("delete -f map.yaml", "configmap \"kc\" deleted");
    kubectl.sees("wait --for=delete cm/kc --timeout=10s", "");
    kubectl.fails("get cm kc", "configmaps \"kc\" not found");
    kubectl.fails("get nosuch", "the server doesn't have a resource type \"nosuch\"");
}

#[test]
fn workloads_and_what_is_served() {
    let Some(kubectl) = Kubectl::find() else { return };
    kubectl.sees("version", "Server Version: v1.");
    kubectl.sees("api-versions", "discovery.k8s.io/v1");
    kubectl.sees("api-resources --api-group=apps", "deployments");
    kubectl.sees(
        "explain deployment.spec.template.spec.containers",
        "FIELD: containers <[]Container>",
    );
    kubectl.sees("get --raw /readyz", "ok");
    kubectl.sees("__complete get configm", "configmaps");
    kubectl.write("deployment.yaml", DEPLOYMENT);
    kubectl.sees("apply -f deployment.yaml", "deployment.apps/d created");
    kubectl.sees("set image deployment/d c=j:2", "deployment.apps/d image updated");
    kubectl.sees("rollout restart deployment/d", "deployment.apps/d restarted");
    // What the controller, which is not here, would say once it is done.
    let done = r#"patch deployment d --subresource=status --type=merge -p {"status":{"observedGeneration":3}}"#;
    kubectl.sees(done, "deployment.apps/d patched");
    kubectl.sees("rollout status deployment/d --timeout=10s", "successfully rolled out");
    kubectl.sees("expose deployment d --port=80", "service/d exposed");
    kubectl.sees("describe svc d", "Selector:                 app=d");
    kubectl.sees("get all", "service/kubernetes");
    kubectl.sees("run p --image=i:1", "pod/p created");
    kubectl.sees("get pods", "p      0/1     Pending");
    kubectl.sees("delete pod p", "pod \"p\" deleted");
    kubectl.sees("get events", "No resources found");
    kubectl.sees("delete deployment,svc d", "deployment.apps \"d\" deleted");
}

/// These commands make the object themselves, and send it as protobuf.
#[test]
fn what_is_made_without_a_file() {
    let Some(kubectl) = Kubectl::find() else { return };
    kubectl.sees("create namespace shop", "namespace/shop created");
    kubectl.fails("create namespace shop", "AlreadyExists");
    kubectl.sees("create serviceaccount robot", "serviceaccount/robot created");
    let token = shown(&kubectl.run("create token robot --duration=1h"));
    let who = format!("auth whoami --token={}", token.trim());
    kubectl.sees(&who, "system:serviceaccount:default:robot");
    kubectl.sees("create secret generic s --from-literal=a=b", "secret/s created");
    kubectl.sees("get secret s -o jsonpath={.data.a}", "Yg==");
    kubectl.sees("create configmap m --from-literal=a=b", "configmap/m created");
    kubectl.sees("get cm m -o jsonpath={.data.a}", "b");
    let role = "create role r --verb=get,list --resource=pods";
    kubectl.sees(role, "role.rbac.authorization.k8s.io/r created");
    let binding = "create rolebinding b --role=r --serviceaccount=default:robot";
    kubectl.sees(binding, "rolebinding.rbac.authorization.k8s.io/b created");
    kubectl.sees(
        "create clusterrole cr --verb=get --resource=nodes",
        "clusterrole.rbac.authorization.k8s.io/cr created",
    );
    kubectl.sees(
        "create clusterrolebinding crb --clusterrole=cr --user=u",
        "clusterrolebinding.rbac.authorization.k8s.io/crb created",
    );
    kubectl.sees("create service clusterip svc --tcp=80:8080", "service/svc created");
    kubectl.sees("get svc svc -o jsonpath={.spec.ports[0].targetPort}", "8080");
    kubectl.sees(
        "create deployment d --image=i:1 --replicas=0",
        "deployment.apps/d created",
    );
    kubectl.sees("get deployment d -o jsonpath={.spec.replicas}", "0");
    kubectl.sees("scale deployment d --replicas=3", "deployment.apps/d scaled");
    kubectl.sees("get deployment d -o jsonpath={.spec.replicas}", "3");
    kubectl.fails(
        "scale deployment d --current-replicas=1 --replicas=2",
        "Expected replicas to be 1, was 3",
    );
    kubectl.sees(
        "create poddisruptionbudget b --selector=app=d --min-available=50%",
        "poddisruptionbudget.policy/b created",
    );
    kubectl.sees("get pdb b", "50%");
    kubectl.sees("get --raw /openid/v1/jwks", "ES256");
    let robot = "--as=system:serviceaccount:default:robot";
    kubectl.sees(&format!("auth can-i list pods {robot}"), "yes");
    kubectl.fails(&format!("auth can-i delete pods {robot}"), "no");
    kubectl.sees(&format!("auth can-i --list {robot}"), "[get list]");
    kubectl.sees("auth whoami", "Username");
}

/// kubectl, a server for it, and a folder for its files.
struct Kubectl {
    program: String,
    servers: Servers,
}

impl Kubectl {
    /// None without a kubectl that is new enough. Debian 12 has 1.20, so even a run that may skip nothing may skip this, unless
    /// `TOMBOLO_KUBECTL` names one.
    fn find() -> Option<Self> {
        let named = std::env::var("TOMBOLO_KUBECTL").ok();
        let program = named.clone().unwrap_or_else(|| "kubectl".to_owned());
        let why = match minor_version(&program) {
            Some(minor) if minor >= OLDEST => {
                let servers = Servers::start(1);
                return Some(Self { program, servers });
            }
            Some(minor) => format!("{program} is 1.{minor}, and 1.{OLDEST} is the oldest that works"),
            None => format!("there is no {program}"),
        };
        assert!(named.is_none(), "TOMBOLO_KUBECTL: {why}");
        eprintln!("skipped: {why}; name a newer one with TOMBOLO_KUBECTL");
        None
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.servers.folder().join(name), text).expect("a file");
    }

    fn run(&self, arguments: &str) -> Output {
        let folder = self.servers.folder();
        let mut command = Command::new(&self.program);
        command.current_dir(folder).args(arguments.split(' '));
        command
            .env("KUBECONFIG", folder.join("cluster1.kubeconfig"))
            .env("HOME", folder);
        command.output().expect("kubectl runs")
    }

    #[track_caller]
    fn sees(&self, arguments: &str, wanted: &str) {
        let output = self.run(arguments);
        let text = shown(&output);
        // A watch that is cut off by its deadline may end either way.
        let may_fail = arguments.contains("--request-timeout");
        assert!(output.status.success() || may_fail, "kubectl {arguments}: {text}");
        assert!(
            text.contains(wanted),
            "kubectl {arguments}: wanted {wanted:?} in {text}"
        );
    }

    #[track_caller]
    fn fails(&self, arguments: &str, wanted: &str) {
        let output = self.run(arguments);
        let text = shown(&output);
        assert!(!output.status.success(), "kubectl {arguments} did not fail: {text}");
        assert!(
            text.contains(wanted),
            "kubectl {arguments}: wanted {wanted:?} in {text}"
        );
    }
}

fn shown(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn minor_version(program: &str) -> Option<u64> {
    let output = Command::new(program)
        .args(["version", "--client", "-o", "json"])
        .output()
        .ok()?;
    let version: Value = serde_json::from_slice(&output.stdout).ok()?;
    let minor = version["clientVersion"]["minor"].as_str()?;
    minor.trim_end_matches('+').parse().ok()
}

fn map(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kc}}\ndata: {{a: \"{value}\"}}\n")
}

const OLDEST: u64 = 27;

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  replicas: 0
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: c, image: 'i:1'}]}
";
