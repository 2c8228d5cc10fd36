//! `headcount import` of rejects that were mended, by the command that the import before it ended with.

mod common;

use common::Scratch;

/// What the mended records are united with is in the store, and must stay there: rows of a user that came together, and
/// identities that were united on request.
#[test]
fn mended_rejects_are_imported_by_the_command_that_is_given() {
    let scratch = Scratch::new();
    let links = "user_id,provider,provider_id,identity_data\nu1,google,1,{}\nu1,facebook,,{}\n";
    let user = |identities: &[(&str, &str)]| {
        let identities: Vec<_> =
            identities.iter().map(|(p, uid)| format!("{{\"provider\":\"{p}\",\"providerUID\":{uid}}}")).collect();
        format!("{{\"UID\":\"u1\",\"identities\":[{}]}}\n", identities.join(","))
    };
    let google = user(&[("google", "\"1\"")]);
    let (facebook, both) = (user(&[("facebook", "2")]), user(&[("google", "\"1\""), ("facebook", "2")]));
    let (row, number) = (("facebook,", "facebook,2"), (":2}", ":\"2\"}"));
    for store in ["m", "e"] {
        scratch
            .run_with(&["import", store, "-"], &google.replace("u1", if store == "m" { "u1" } else { "u2" }))
            .exits(0);
    }
    for (name, options, files, rejects, (bad, mended), existing) in [
        (
            "s",
            &[][..],
            &[("u.csv", "uid,provider,providerUID\nu1,google,1\nu1,facebook,\n")][..],
            "r.csv",
            row,
            "merge",
        ),
        ("t", &[], &[("users.csv", "id,aud\nu1,x\n"), ("links.csv", links)], "r.links.csv", row, "merge"),
        ("m", &["--existing", "merge"], &[("m.ndjson", &facebook)], "r.csv", number, "merge"),
        ("d", &["--on-duplicate", "merge"], &[("d.ndjson", &format!("{google}{facebook}"))], "r.csv", number, "merge"),
        ("e", &["--existing", "error"], &[("e.ndjson", &both.replace("\"1\"", "\"3\""))], "r.csv", number, "error"),
    ] {
        files.iter().for_each(|(file, text)| drop(scratch.write(file, text)));
        let named = files.iter().map(|(file, _)| *file);
        let import: Vec<_> = ["import", name].into_iter().chain(named).chain(options.iter().copied()).collect();
        let import = [&import[..], &["--skip-invalid", "--rejects", "r.csv"]].concat();
        let run = scratch.run(&import).exits(3);
        let hint = run.err.lines().find_map(|line| line.split_once("headcount import ")).map(|(_, command)| command);
        let hint = hint.unwrap_or_else(|| panic!("no command: {}", run.err));
        assert!(hint.contains(rejects) && hint.contains(&format!("--existing {existing}")), "{hint}");
        scratch.write(rejects, scratch.read(rejects).replace(bad, mended));
        let again: Vec<_> = ["import"].into_iter().chain(hint.split(' ')).collect();
        scratch.run(&again).exits(0);
        let u1 = scratch.run(&["get", name, "u1"]).exits(0).out;
        assert!(u1.contains("google") && u1.contains("facebook"), "{u1}");
        scratch.run(&import[..import.len() - 2]).exits(3).says(&["records were rejected"]);
    }
}

/// A record of a user that was loaded may be among the rejects, or one of its UID that was not told: mended, none of them
/// takes the place of what was loaded.
#[test]
fn mended_rejects_replace_nobody_who_was_loaded() {
    let scratch = Scratch::new();
    let user = |uid: &str, id: &str| {
        format!("{{\"UID\":\"{uid}\",\"identities\":[{{\"provider\":\"p\",\"providerUID\":{id}}}]}}\n")
    };
    let (first, second, bad) = (user("a", "\"1\""), user("a", "\"2\""), user("b", "3"));
    for (name, options, text, taken) in [
        // Refused as the second of its UID.
        ("e", &[][..], [&first, &second, &bad], true),
        ("n", &["--existing", "replace"], [&second.replace('a', "c"), &first, &bad], false),
        // Not known as one, since it was bad.
        ("f", &[], [&user("a", "2"), &first, &bad], true),
        ("l", &["--on-duplicate", "last"], [&user("a", "2"), &first, &bad], true),
        ("g", &[], [&first, &second.replace('a', "c"), &bad], false),
    ] {
        scratch.write("u.ndjson", text.map(String::as_str).concat());
        let import = [&["import", name, "u.ndjson"][..], options, &["--skip-invalid", "--rejects", "r"]].concat();
        let run = scratch.run(&import).exits(3);
        let hint = run.err.lines().find_map(|line| line.split_once("headcount import ")).map(|(_, command)| command);
        let hint = hint.unwrap_or_else(|| panic!("no command: {}", run.err));
        assert_eq!(hint.contains("--existing error"), options != ["--existing", "replace"], "{hint}");
        scratch.write("r", scratch.read("r").replace(":2}", ":\"2\"}").replace(":3}", ":\"3\"}"));
        let again: Vec<_> = ["import"].into_iter().chain(hint.split(' ')).collect();
        if taken {
            scratch.run(&again).exits(1).says(&["the store has this UID", "--existing"]);
            let kept = ["--skip-invalid", "--rejects", "left"];
            scratch.run(&[&again[..], &kept].concat()).exits(3);
            assert_eq!(scratch.read("left"), second);
        } else {
            scratch.run(&again).exits(0);
        }
        assert_eq!(scratch.run(&["get", name, "a"]).exits(0).out, first);
        scratch.run(&["get", name, "b"]).exits(0);
    }
}
