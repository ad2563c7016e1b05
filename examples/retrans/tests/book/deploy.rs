// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files in `docs/deploy`, and the `yaml` and `dockerfile` blocks about them.
//!
//! # Design
//!
//! Nothing is built or applied here: that requires a container engine or a cluster.
//! `tests/image.sh` builds the image where an engine answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use jsonschema::Validator;
use retrans_sdk::FieldSet;
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use crate::page::{pages, root};

/// The schema of a DaemonSet. It rejects unknown fields.
const SCHEMA: &str = include_str!("daemonset.schema.json");

/// The instructions of a Dockerfile that are used or may be.
const INSTRUCTIONS: [&str; 12] =
    ["ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "RUN", "STOPSIGNAL", "USER", "WORKDIR"];

fn read(name: &str) -> String {
    fs::read_to_string(root().join("docs/deploy").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Converts a YAML document to JSON, with the types that YAML gives its scalars.
fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Integer(number) => json!(number),
        Yaml::String(text) => json!(text),
        Yaml::Boolean(value) => json!(value),
        Yaml::Null => Value::Null,
        Yaml::Array(items) => items.iter().map(to_json).collect(),
        Yaml::Hash(pairs) => Value::Object(
            pairs.iter().map(|(key, value)| (key.as_str().expect("a text key").to_owned(), to_json(value))).collect(),
        ),
        other => panic!("not used in a manifest: {other:?}"),
    }
}

/// Parses one YAML document.
fn parse(text: &str) -> Result<Value, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    match &*documents {
        [document] => Ok(to_json(document)),
        documents => Err(format!("{} documents", documents.len())),
    }
}

fn manifest() -> Value {
    parse(&read("daemonset.yaml")).expect("daemonset.yaml is YAML")
}

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("a schema");
    jsonschema::validator_for(&schema).expect("a schema")
}

fn errors(manifest: &Value) -> Vec<String> {
    validator().iter_errors(manifest).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Merges a patch as `kubectl patch` does: objects by key, and lists whose items have names by
/// name.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(patch)) if patch.iter().all(|item| item["name"].is_string()) => {
            for item in patch {
                match into.iter_mut().find(|known| known["name"] == item["name"]) {
                    Some(known) => merge(known, item),
                    None => into.push(item.clone()),
                }
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

/// The pod's settings, and its only container.
fn pod(manifest: &Value) -> (&Value, &Value) {
    let pod = &manifest["spec"]["template"]["spec"];
    let containers = pod["containers"].as_array().expect("containers");
    assert_eq!(containers.len(), 1);
    assert!(pod["initContainers"].is_null() && pod["ephemeralContainers"].is_null());
    (pod, &containers[0])
}

#[test]
fn the_daemonset_conforms_to_the_schema() {
    assert_eq!(errors(&manifest()), [""; 0]);
}

#[test]
fn the_schema_rejects_mistakes() {
    for (path, value) in [
        ("/spec/template/spec/hostNetwrk", json!(false)),
        ("/spec/template/spec/containers/0/securityContext/privileged", json!("no")),
        ("/spec/template/spec/containers/0/securityContext/capabilities/drop", json!("ALL")),
        ("/spec/selector", json!([])),
        ("/kind", json!("Deployment")),
    ] {
        let mut wrong = manifest();
        let (parent, key) = path.rsplit_once('/').expect("a path");
        wrong.pointer_mut(parent).expect(path)[key] = value;
        assert_eq!(errors(&wrong).len(), 1, "{path}");
    }
}

#[test]
fn the_daemonset_grants_the_least_privileges() {
    let manifest = manifest();
    let (pod, container) = pod(&manifest);
    let expected = json!({
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"], "add": ["BPF", "PERFMON"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    assert_eq!(container["securityContext"], expected);
    assert!(pod["securityContext"].is_null(), "a second place for the same settings");
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    for shared in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "volumes"] {
        assert!(pod[shared].is_null(), "{shared}");
    }
    // Capabilities of another user namespace load no programs.
    assert!(pod["hostUsers"].is_null(), "hostUsers");
    for opened in ["ports", "volumeMounts", "volumeDevices", "env", "envFrom"] {
        assert!(container[opened].is_null(), "{opened}");
    }
    assert!(container["resources"]["limits"]["memory"].is_string());
}

#[test]
fn the_selector_matches_the_pods() {
    let manifest = manifest();
    assert_eq!(manifest["spec"]["selector"]["matchLabels"], manifest["spec"]["template"]["metadata"]["labels"]);
}

/// Returns the words of a list of strings.
fn words(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|word| word.as_str().expect("a string").to_owned()).collect()
}

/// Checks that `retrans` accepts the arguments, as far as its help, the filter and the fields show.
fn accepts(arguments: &[String]) {
    assert_eq!(crate::programs::accepts("retrans", arguments), Ok(()), "{arguments:?}");
    for pair in arguments.windows(2).filter(|pair| pair[0] == "--fields") {
        pair[1].parse::<FieldSet>().expect("fields");
    }
}

#[test]
fn the_containers_run_commands_that_exist() {
    let manifest = manifest();
    let (_, container) = pod(&manifest);
    assert!(container["command"].is_null(), "the image has an entry point");
    accepts(&words(&container["args"]));
    let instructions = instructions(&read("Dockerfile"));
    let of = |name: &str| -> Vec<String> {
        let found = instructions.iter().find(|(instruction, _)| instruction == name);
        words(&serde_json::from_str(&found.expect(name).1).expect("the form that needs no shell"))
    };
    assert_eq!(of("ENTRYPOINT"), ["/usr/local/bin/retrans"]);
    accepts(&of("CMD"));
}

/// Returns the instructions of a Dockerfile with their arguments on one line.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let joined = lines.fold(String::new(), |joined, line| match line.strip_suffix('\\') {
        Some(line) => joined + line,
        None => joined + line + "\n",
    });
    let split = |line: &str| {
        let (instruction, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}: no arguments"));
        assert!(INSTRUCTIONS.contains(&instruction), "{instruction}: unknown");
        let words: Vec<_> = rest.split_whitespace().collect();
        assert!(!words.is_empty(), "{instruction}: no arguments");
        (instruction.to_owned(), words.join(" "))
    };
    joined.lines().map(split).collect()
}

#[test]
fn the_dockerfile_copies_what_exists() {
    let instructions = instructions(&read("Dockerfile"));
    let mut stages = BTreeSet::new();
    let mut defaults = BTreeMap::new();
    let mut copied = BTreeSet::new();
    for (instruction, rest) in &instructions {
        let words: Vec<_> = rest.split(' ').collect();
        match &**instruction {
            "ARG" => {
                let (name, value) = rest.split_once('=').expect("a default");
                defaults.insert(format!("${{{name}}}"), value);
            }
            "FROM" => {
                let image = defaults.get(words[0]).copied().unwrap_or(words[0]);
                // What precedes the first slash is a host if it has a dot or a port.
                let host = image.split_once('/').map_or("", |(host, _)| host);
                assert!(!host.contains(['.', ':']), "{image}: names a registry");
                if let ["AS", name] = words[1..] {
                    stages.insert(name.to_owned());
                }
            }
            "COPY" => match words[0].strip_prefix("--from=") {
                Some(stage) => assert!(stages.contains(stage), "{rest}: no such stage"),
                None => {
                    for source in &words[..words.len() - 1] {
                        assert!(root().join(source).exists(), "{source}: no such file");
                        copied.insert((*source).to_owned());
                    }
                }
            },
            _ => assert!(!stages.is_empty(), "{instruction} {rest}: before the first stage"),
        }
    }
    assert_eq!(instructions.iter().filter(|(instruction, _)| instruction == "FROM").count(), 2);

    // Cargo reads the manifest of every member.
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    let workspace: toml::Table = workspace.parse().expect("TOML");
    for member in workspace["workspace"]["members"].as_array().expect("members") {
        let member = member.as_str().expect("a path");
        let first = member.split('/').next().unwrap_or(member);
        assert!(copied.contains(first), "{member} is not copied");
    }
    // So do the pages that the program contains.
    let pages = fs::read_to_string(root().join("examples/retrans/src/explain/page.rs")).expect("its source");
    let (_, included) = pages.split_once("include_str!(concat!(\"../../../../").expect("it includes pages");
    let (directory, _) = included.split_once("/\"").expect("a directory");
    assert!(copied.contains(directory), "{directory} is not copied");
}

/// Returns the packages of each `apt-get install`.
fn installed(instructions: &[(String, String)]) -> Vec<BTreeSet<&str>> {
    let runs = instructions.iter().filter(|(instruction, _)| instruction == "RUN");
    let commands = runs.flat_map(|(_, rest)| rest.split(" && "));
    let arguments = commands.filter_map(|command| command.strip_prefix("apt-get install "));
    arguments.map(|packages| packages.split(' ').filter(|word| !word.starts_with("--")).collect()).collect()
}

#[test]
fn the_dockerfile_installs_what_the_makefile_does() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    let packages = makefile.lines().find_map(|line| line.strip_prefix("BUILD_PACKAGES := ")).expect("BUILD_PACKAGES");
    let instructions = instructions(&read("Dockerfile"));
    let expected = [packages.split_whitespace().collect(), BTreeSet::from(["libelf1", "zlib1g"])];
    assert_eq!(installed(&instructions), expected);
}

#[test]
fn the_version_in_image_names_is_that_of_the_workspace() {
    let expected = format!("retrans:{}", env!("CARGO_PKG_VERSION"));
    let manifest = manifest();
    assert_eq!(pod(&manifest).1["image"], json!(expected));
    let texts = pages().into_iter().map(|page| (page.name, page.text));
    let texts = texts.chain(["Dockerfile", "daemonset.yaml"].map(|name| (name.to_owned(), read(name))));
    let mut count = 0;
    for (name, text) in texts {
        for (_, rest) in text.match_indices("retrans:0").map(|(at, _)| text.split_at(at)) {
            assert!(rest.starts_with(&expected), "{name}: {:?}", rest.lines().next());
            count += 1;
        }
    }
    assert!(count > 2, "{count}");
}

/// A `yaml` block is a part of the manifest, or a patch of it.
#[test]
fn a_yaml_block_is_in_the_manifest_or_patches_it() {
    let text = read("daemonset.yaml");
    let mut count = 0;
    for page in pages() {
        for block in page.blocks_that(|info| info == "yaml") {
            count += 1;
            if text.contains(block.text) {
                continue;
            }
            let at = page.at(&block);
            let patch = parse(block.text).unwrap_or_else(|error| panic!("{at}: {error}"));
            let mut patched = manifest();
            merge(&mut patched, &patch);
            assert_ne!(patched, manifest(), "{at}: changes nothing");
            assert_eq!(errors(&patched), [""; 0], "{at}");
            accepts(&words(&pod(&patched).1["args"]));
        }
    }
    assert!(count > 1, "{count}");
}

#[test]
fn a_dockerfile_block_is_in_the_dockerfile_or_parses() {
    let text = read("Dockerfile");
    let mut count = 0;
    for page in pages() {
        for block in page.blocks_that(|info| info == "dockerfile") {
            count += 1;
            assert!(text.contains(block.text) || !instructions(block.text).is_empty(), "{}", page.at(&block));
        }
    }
    assert!(count > 0, "{count}");
}

#[test]
fn a_patch_merges_as_kubectl_does() {
    let mut into = json!({ "a": { "b": 1, "c": [1] }, "l": [{ "name": "x", "v": 1 }] });
    merge(&mut into, &json!({ "a": { "b": 2, "c": [2] }, "l": [{ "name": "x", "w": 2 }, { "name": "y" }] }));
    let expected = json!({ "a": { "b": 2, "c": [2] }, "l": [{ "name": "x", "v": 1, "w": 2 }, { "name": "y" }] });
    assert_eq!(into, expected);
}

#[test]
fn continued_lines_are_joined() {
    let parsed = instructions("# no\nRUN a \\\n    # no\n    && b\n\nUSER 1\n");
    let of = |instruction: &str, rest: &str| (instruction.to_owned(), rest.to_owned());
    assert_eq!(parsed, [of("RUN", "a && b"), of("USER", "1")]);
}
