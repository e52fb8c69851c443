use super::*;

fn pod(spec: serde_json::Value) -> Pod {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec})).unwrap()
}

fn places(directory: &Path) -> Places<'_> {
    Places {
        pod: directory,
        node_root: Path::new("/node"),
    }
}

#[test]
fn every_container_gets_the_token_unless_it_does_not_want_it() {
    let pod_with = pod(json!({}));
    let mounts = mounts(
        &pod_with,
        &pod_with.spec.as_ref().unwrap().containers[0],
        places(Path::new("/p")),
    )
    .unwrap();
    assert_eq!(mounts[0].target, Path::new(TOKEN_DIRECTORY));
    assert!(mounts[0].is_read_only);
    assert_eq!(volumes(&pod(json!({"automountServiceAccountToken": false}))), []);
    let admitted = json!({
        "volumes": [{"name": "kube-api-access-x", "projected": {"sources": []}}],
        "containers": [{"name": "c", "volumeMounts": [{"name": "kube-api-access-x", "mountPath": TOKEN_DIRECTORY}]}],
    });
    assert_eq!(volumes(&pod(admitted)).len(), 1, "what admission did is not done twice");
}

#[test]
fn host_paths_are_the_nodes_own_but_for_the_kernels() {
    let of = |path: &str| {
        let volume = serde_json::from_value(json!({"name": "v", "hostPath": {"path": path}})).unwrap();
        place(&volume, places(Path::new("/p")))
    };
    assert_eq!(of("/var/lib/tombolo").unwrap(), Path::new("/node/var/lib/tombolo"));
    assert_eq!(of("/dev/net/tun").unwrap(), Path::new("/dev/net/tun"));
    assert!(of("/var/../../etc").is_err());
    assert!(of("/dev/../etc").is_err());
}

#[test]
fn files_come_go_and_change_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let file = |text: &str| (text.as_bytes().to_vec(), 0o600);
    write_files(
        directory.path(),
        &Files::from([("a".into(), file("1")), ("b".into(), file("2"))]),
    )
    .unwrap();
    write_files(directory.path(), &Files::from([("a".into(), file("3"))])).unwrap();
    let names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["a"]);
    let path = directory.path().join("a");
    assert_eq!(fs::read_to_string(&path).unwrap(), "3");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn items_choose_and_rename() {
    let all = BTreeMap::from([("k".to_owned(), b"v".to_vec()), ("other".to_owned(), vec![])]);
    let item = |key: &str, path: &str| KeyToPath {
        key: key.to_owned(),
        path: path.to_owned(),
        mode: Some(0o400),
    };
    let chosen = select(all.clone(), Some(&[item("k", "d/f")]), 0o644).unwrap();
    assert_eq!(chosen, Files::from([("d/f".into(), (b"v".to_vec(), 0o400))]));
    assert!(select(all.clone(), Some(&[item("none", "f")]), 0o644).is_err());
    assert!(select(all, Some(&[item("k", "../f")]), 0o644).is_err());
}

#[test]
fn host_path_types_are_obeyed() {
    let directory = tempfile::tempdir().unwrap();
    let make = |kind: &str, name: &str| {
        let source = HostPathVolumeSource {
            path: format!("/{name}"),
            type_: Some(kind.to_owned()),
        };
        make_host_path(&source, &directory.path().join(name))
    };
    make("DirectoryOrCreate", "d/e").unwrap();
    make("Directory", "d/e").unwrap();
    make("FileOrCreate", "f/g").unwrap();
    assert!(make("Directory", "f/g").is_err());
    assert!(make("File", "d").is_err());
    assert!(
        make("CharDevice", "tun")
            .unwrap_err()
            .to_string()
            .contains("CharDevice")
    );
}
