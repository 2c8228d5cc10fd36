use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

/// As people write it: comments, an order of their own, both forms of lists.
const WRITTEN: &str = r#"# Ours.
metrics = "127.0.0.1:9090"   # scraped
listen = [
  { address = "127.0.0.1:8080" }, # the proxy's
]

# The first site.
[[site]]
api_key = "3_a" # of 2015
store = "a.hc"
secrets = [
  { file = "a.secret" },
]

# For the CRM.
[[site.user_key]]
key = "crm"
permissions = ["export"]
secrets = [{ env = "CRM_OLD" }, { env = "CRM_NEW" }]

[limits]
exports = 3 # small machine

# The second site.
[[site]]
api_key = "3_b"
store = "b.hc"
secrets = [{ env = "B" }]
user_key = [{ key = "mail", permissions = ["write"], secrets = [{ env = "MAIL" }] }]
# The end.
"#;

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new(text: &str) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        fs::write(this.file(), text).unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("hc.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Makes a change and returns the new text.
    fn edit(&self, change: impl FnOnce(&mut ConfigEdit)) -> String {
        let mut edit = ConfigEdit::open(&self.file()).unwrap();
        change(&mut edit);
        edit.save().unwrap();
        self.text()
    }

    /// What is said when a change cannot be made; nothing has changed then.
    fn refused<T: std::fmt::Debug>(&self, change: impl FnOnce(&mut ConfigEdit) -> Result<T, EditError>) -> String {
        let (text, names) = (self.text(), self.names());
        let error = change(&mut ConfigEdit::open(&self.file()).unwrap()).unwrap_err();
        assert_eq!((self.text(), self.names()), (text, names));
        error.to_string()
    }
}

/// The lines of `new` that are not in `old`, and the other way round.
fn difference<'t>(old: &'t str, new: &'t str) -> (Vec<&'t str>, Vec<&'t str>) {
    let lines = |a: &'t str, b: &'t str| a.lines().filter(|l| !b.lines().any(|other| other == *l)).collect();
    (lines(new, old), lines(old, new))
}

#[test]
fn a_new_configuration_is_one_that_works() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let mut edit = ConfigEdit::open_or_new(&scratch.file()).unwrap();
    assert!(edit.is_new() && edit.config().sites.is_empty());
    let secret = edit.add_site("3_new-site-of-ours", &scratch.path("s")).unwrap();
    assert!(!scratch.file().exists(), "the secret comes first");
    assert_eq!(secret, scratch.path("3_new-site-o.secret"));
    let config = edit.save().unwrap();
    assert_eq!(config.sites[0].store, scratch.path("s"));
    assert_eq!(
        scratch.text(),
        format!(
            "{TEMPLATE}\n[[site]]\napi_key = \"3_new-site-of-ours\"\nstore = \"s\"\nsecrets = [{{ file = \
             \"3_new-site-o.secret\" }}]\n"
        )
    );
    assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_to_string(&secret).unwrap().len(), 44, "base64 of 32 bytes, and no line end");
    config.sites[0].secrets[0].read().unwrap();
    assert_eq!(scratch.names(), ["3_new-site-o.secret", "hc.toml"]);
    let other = Scratch(tempfile::tempdir().unwrap());
    assert!(ConfigEdit::open(&other.file()).unwrap_err().to_string().starts_with("cannot read "));
}

#[test]
fn what_is_added_leaves_the_rest_as_it_was() {
    let scratch = Scratch::new(WRITTEN);
    let new = scratch.edit(|edit| {
        edit.add_site("3_c", Path::new("/srv/c.hc")).unwrap();
        edit.add_user_key("3_a", "job", &[Permission::Export, Permission::Write]).unwrap();
        edit.add_user_key("3_b", "bulk", &[Permission::Write]).unwrap();
        edit.add_secret("3_a", None).unwrap();
        edit.add_secret("3_b", None).unwrap();
    });
    let (added, removed) = difference(WRITTEN, &new);
    assert_eq!(
        added,
        [
            "  { file = \"3_a.secret\" },",
            "key = \"job\"",
            "permissions = [\"export\", \"write\"]",
            "secrets = [{ file = \"3_a.job.secret\" }]",
            "secrets = [{ env = \"B\" }, { file = \"3_b.secret\" }]",
            "user_key = [{ key = \"mail\", permissions = [\"write\"], secrets = [{ env = \"MAIL\" }] }, { key = \"bulk\", \
             permissions = [\"write\"], secrets = [{ file = \"3_b.bulk.secret\" }] }]",
            "api_key = \"3_c\"",
            "store = \"/srv/c.hc\"",
            "secrets = [{ file = \"3_c.secret\" }]",
        ],
        "{new}"
    );
    assert_eq!(removed.len(), 2, "{removed:?}");
    // The new key stands with its site.
    let config = Config::load(scratch.file()).unwrap();
    let keys: Vec<Vec<&str>> =
        config.sites.iter().map(|site| site.user_keys.iter().map(|key| key.key.as_str()).collect()).collect();
    assert_eq!(keys, [vec!["crm", "job"], vec!["mail", "bulk"], vec![]]);
    assert!(config.all_secrets().filter(|s| matches!(s, SecretSource::File(_))).skip(1).all(|s| s.read().is_ok()));
}

#[test]
fn lists_keep_their_layout() {
    for (secrets, expected) in [
        ("[{ env = \"A\" }]", "[{ env = \"A\" }, { file = \"3_a.secret\" }]"),
        ("[{ env = \"A\" },]", "[{ env = \"A\" }, { file = \"3_a.secret\" },]"),
        ("[\n  { env = \"A\" }\n]", "[\n  { env = \"A\" },\n  { file = \"3_a.secret\" }\n]"),
        ("[\n  { env = \"A\" }, # old\n]", "[\n  { env = \"A\" }, # old\n  { file = \"3_a.secret\" },\n]"),
        ("[\n  { env = \"A\" } # old\n]", "[\n  { env = \"A\" } # old\n,\n  { file = \"3_a.secret\" }]"),
    ] {
        let site =
            |secrets: &str| format!("{TEMPLATE}[[site]]\napi_key = \"3_a\"\nstore = \"s\"\nsecrets = {secrets}\n");
        let new = Scratch::new(&site(secrets)).edit(|edit| drop(edit.add_secret("3_a", None).unwrap()));
        assert_eq!(new, site(expected));
    }
}

#[test]
fn what_is_removed_leaves_the_rest_as_it_was() {
    let scratch = Scratch::new(WRITTEN);
    let new = scratch.edit(|edit| {
        edit.remove_secret("3_a", Some("crm"), &SecretSource::Env("CRM_OLD".to_owned())).unwrap();
    });
    let (added, removed) = difference(WRITTEN, &new);
    assert_eq!(added, ["secrets = [{ env = \"CRM_NEW\" }]"]);
    assert_eq!(removed, ["secrets = [{ env = \"CRM_OLD\" }, { env = \"CRM_NEW\" }]"]);
    let before = new;
    let new = scratch.edit(|edit| {
        assert_eq!(edit.remove_user_key("3_b", "mail").unwrap(), [SecretSource::Env("MAIL".to_owned())]);
        assert_eq!(edit.remove_user_key("3_a", "crm").unwrap(), [SecretSource::Env("CRM_NEW".to_owned())]);
    });
    let (added, removed) = difference(&before, &new);
    assert_eq!(added, ["user_key = []"]);
    assert!(removed.contains(&"# For the CRM.") && removed.contains(&"key = \"crm\""), "{removed:?}");
    assert!(new.ends_with("# The end.\n") && new.starts_with("# Ours.\n"));
}

#[test]
fn a_secret_is_exchanged_without_a_moment_with_none() {
    let scratch = Scratch::new(WRITTEN);
    let old = SecretSource::File(scratch.path("a.secret"));
    let last = scratch.refused(|edit| edit.remove_secret("3_a", None, &old));
    let file = scratch.path("a.secret").display().to_string();
    assert_eq!(
        last,
        format!(
            "{file} is the last secret of site \"3_a\"; give the site another with `headcount site key-add --rotate` first"
        )
    );
    let last = scratch.refused(|edit| edit.remove_secret("3_b", Some("mail"), &SecretSource::Env("MAIL".to_owned())));
    assert_eq!(
        last,
        "env:MAIL is the last secret of user key \"mail\" of the site \"3_b\"; leave --secret out to revoke the key itself"
    );
    scratch.edit(|edit| drop(edit.add_secret("3_a", None).unwrap()));
    let third = scratch.refused(|edit| edit.add_secret("3_a", None));
    assert_eq!(
        third,
        format!(
            "site \"3_a\" has two secrets already, {file} and {}; when no client uses one of them any more, take it away \
             with `headcount site key-revoke --secret`, and try again",
            scratch.path("3_a.secret").display()
        )
    );
    let new = scratch.edit(|edit| {
        let named = edit.secret_named("3_a", None, "a.secret").unwrap();
        assert_eq!(named, old);
        edit.remove_secret("3_a", None, &named).unwrap();
    });
    let (added, removed) = difference(WRITTEN, &new);
    assert_eq!((added, removed), (vec!["  { file = \"3_a.secret\" },"], vec!["  { file = \"a.secret\" },"]));
}

#[test]
fn what_is_not_there_and_what_is_there_already() {
    let scratch = Scratch::new(WRITTEN);
    let file = scratch.file().display().to_string();
    let list = format!("`headcount site list --config {file}` names all");
    assert_eq!(scratch.refused(|e| e.add_secret("3_x", None)), format!("there is no site \"3_x\"; {list}"));
    assert_eq!(
        scratch.refused(|e| e.remove_user_key("3_a", "mail")),
        format!("the site \"3_a\" has no user key \"mail\"; {list}")
    );
    let other = SecretSource::Env("OTHER".to_owned());
    assert_eq!(
        scratch.refused(|e| e.remove_secret("3_b", None, &other)),
        "env:OTHER is no secret of site \"3_b\"; there is env:B"
    );
    let taken = "there is a site or user key \"crm\" already; give another name, or a second secret with `headcount site \
                 key-add --rotate`";
    assert_eq!(scratch.refused(|e| e.add_site("crm", Path::new("s"))), taken);
    assert_eq!(scratch.refused(|e| e.add_user_key("3_b", "crm", &[Permission::Write])), taken);
    assert_eq!(
        scratch.refused(|e| e.add_site("a b\u{1b}", Path::new("s"))),
        "the apiKey \"a b\\u{1b}\" is not of printable ASCII without spaces; give it another name"
    );
}

#[test]
fn a_change_that_is_not_saved_leaves_no_secret() {
    let scratch = Scratch::new(WRITTEN);
    let mut edit = ConfigEdit::open(&scratch.file()).unwrap();
    let secret = edit.add_site("3_c", Path::new("s")).unwrap();
    assert!(secret.exists());
    drop(edit);
    assert_eq!((scratch.names(), scratch.text()), (vec!["hc.toml".to_owned()], WRITTEN.to_owned()));
    // Nor does one that would be wrong.
    let mut edit = ConfigEdit::open(&scratch.file()).unwrap();
    edit.add_user_key("3_a", "none", &[]).unwrap();
    assert!(edit.save().unwrap_err().to_string().contains("may do nothing"));
    assert_eq!((scratch.names(), scratch.text()), (vec!["hc.toml".to_owned()], WRITTEN.to_owned()));
}

#[test]
fn secrets_never_take_the_place_of_a_file() {
    let scratch = Scratch::new(WRITTEN);
    fs::write(scratch.path("3_a.secret"), "something of theirs").unwrap();
    symlink("/nowhere", scratch.path("3_a-2.secret")).unwrap();
    let mut edit = ConfigEdit::open(&scratch.file()).unwrap();
    assert_eq!(edit.add_secret("3_a", None).unwrap(), scratch.path("3_a-3.secret"));
    edit.save().unwrap();
    assert_eq!(fs::read_to_string(scratch.path("3_a.secret")).unwrap(), "something of theirs");
    assert_eq!((stem("-a/b.c"), stem("3_abcdefghijklm")), ("_-a_b_c".to_owned(), "3_abcdefghij".to_owned()));
}

#[test]
fn the_file_keeps_mode_and_owner_and_a_link_stays() {
    let scratch = Scratch::new(WRITTEN);
    fs::write(scratch.path("hc.toml.new"), "left by a crash").unwrap();
    fs::set_permissions(scratch.file(), Permissions::from_mode(0o664)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(scratch.file(), Some(1234), Some(4321)).unwrap();
    }
    fs::create_dir(scratch.path("link")).unwrap();
    symlink("../hc.toml", scratch.path("link/hc.toml")).unwrap();
    let mut edit = ConfigEdit::open(&scratch.path("link/hc.toml")).unwrap();
    let secret = edit.add_site("3_c", &scratch.path("link/c.hc")).unwrap();
    edit.save().unwrap();
    assert!(fs::symlink_metadata(scratch.path("link/hc.toml")).unwrap().is_symlink());
    assert_eq!(secret, scratch.path("link/3_c.secret"), "paths are relative to the file as it is named");
    let found = fs::metadata(scratch.file()).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o664);
    assert!(scratch.text().contains("store = \"c.hc\"\n"));
    if is_root {
        let secret = fs::metadata(&secret).unwrap();
        assert_eq!([found.uid(), found.gid(), secret.uid(), secret.gid()], [1234, 4321, 1234, 4321]);
    }
    assert_eq!(scratch.names(), ["hc.toml", "link"]);
}

#[test]
fn one_edits_and_others_wait() {
    let scratch = Scratch::new(WRITTEN);
    let mut first = ConfigEdit::open(&scratch.file()).unwrap();
    let (sent, received) = mpsc::channel();
    let file = scratch.file();
    let second = thread::spawn(move || {
        let mut edit = ConfigEdit::open(&file).unwrap();
        sent.send(()).unwrap();
        edit.add_user_key("3_c", "later", &[Permission::Export]).unwrap();
        edit.save().unwrap();
    });
    received.recv_timeout(Duration::from_millis(200)).unwrap_err();
    first.add_site("3_c", Path::new("s")).unwrap();
    first.save().unwrap();
    second.join().unwrap();
    assert_eq!(Config::load(scratch.file()).unwrap().sites[2].user_keys[0].key, "later");
}

#[test]
fn files_go_that_nobody_names_any_more() {
    let scratch = Scratch::new(WRITTEN);
    for name in ["a.secret", "old.secret"] {
        fs::write(scratch.path(name), "AAAA").unwrap();
    }
    let config = Config::load(scratch.file()).unwrap();
    let file = |name: &str| SecretSource::File(scratch.path(name));
    fs::create_dir(scratch.path("dir.secret")).unwrap();
    let left =
        remove_secret_files(&config, &[file("a.secret"), file("old.secret"), file("gone.secret"), file("dir.secret")]);
    assert_eq!(left.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), [scratch.path("dir.secret")]);
    assert_eq!(scratch.names(), ["a.secret", "dir.secret", "hc.toml"]);
}

#[test]
fn random_names() {
    let key = random_api_key().unwrap();
    let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(key.len() == 66 && key.starts_with("3_") && key.chars().all(is_safe), "{key}");
    assert!(key != random_api_key().unwrap() && random_user_key().unwrap() != random_user_key().unwrap());
    assert_eq!(name_problem(&key), None);
}
