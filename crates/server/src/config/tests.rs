use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use headcount::method::Permission;
use headcount::{Options, Store};

use super::*;

/// A listener, so that a test says only what it is about.
const LISTEN: &str = "listen = [{ address = \"127.0.0.1:8080\" }]\n";
const SITE: &str = "[[site]]\napi_key = \"3_a\"\nstore = \"s\"\nsecrets = [{ file = \"a.secret\" }]\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "/etc/hc/hc.toml")
}

/// The line and the text of the error, without the file's name.
#[track_caller]
fn refusal(text: &str) -> String {
    let error = parse(text).unwrap_err();
    assert!(matches!(error, ConfigError::Invalid { .. }), "{error:?}");
    error.to_string().strip_prefix("/etc/hc/hc.toml:").unwrap().to_owned()
}

#[test]
fn everything_there_is() {
    let config = parse(
        r#"
        public_urls = ["https://users.example.com", "http://[::1]:8080/base/"]
        trusted_proxies = ["10.0.0.0/8", "::1"]
        metrics = "0.0.0.0:9090"
        tokens = "/var/lib/hc/tokens"
        token_lifetime = 600

        [[listen]]
        address = "[::]:443"
        tls = { cert = "tls/cert.pem", key = "/etc/ssl/key.pem" }

        [[listen]]
        address = "127.0.0.1:8080"
        insecure_loopback = true

        [[listen]]
        address = "10.0.0.1:80"
        plain_http = true

        [limits]
        exports = 3
        requests_per_second = 100

        [[site]]
        api_key = "3_a"
        store = "a.hc"
        secrets = [{ file = "a.secret" }, { env = "A_SECRET" }]

        [[site.user_key]]
        key = "crm"
        permissions = ["export", "write"]
        secrets = [{ file = "crm.secret" }]

        [[site]]
        api_key = "3_b"
        store = "/var/lib/hc/b.hc"
        secrets = [{ env = "B_SECRET" }]
        "#,
    )
    .unwrap();
    let tls = config.listen[0].tls.as_ref().unwrap();
    assert_eq!(
        (tls.cert.as_path(), tls.key.as_path()),
        (Path::new("/etc/hc/tls/cert.pem"), Path::new("/etc/ssl/key.pem"))
    );
    assert!(config.listen[1].insecure_loopback && config.listen[2].plain_http);
    assert_eq!(config.public_urls.len(), 2);
    assert!(config.trusted_proxies[0].contains("10.2.3.4".parse().unwrap()));
    assert_eq!(config.metrics, Some("0.0.0.0:9090".parse().unwrap()));
    assert_eq!(config.tokens.as_deref(), Some(Path::new("/var/lib/hc/tokens")));
    assert_eq!(config.token_lifetime, 600);
    assert_eq!(config.limits, Limits { exports: 3, requests_per_second: 100, ..Limits::default() });
    let site = &config.sites[0];
    assert_eq!((site.api_key.as_str(), site.store.as_path()), ("3_a", Path::new("/etc/hc/a.hc")));
    assert_eq!(site.secrets, [SecretSource::File("/etc/hc/a.secret".into()), SecretSource::Env("A_SECRET".to_owned())]);
    let key = &site.user_keys[0];
    assert_eq!((key.key.as_str(), key.permissions.as_slice()), ("crm", &[Permission::Export, Permission::Write][..]));
    assert_eq!(key.secrets, [SecretSource::File("/etc/hc/crm.secret".into())]);
    assert_eq!(config.sites[1].store, Path::new("/var/lib/hc/b.hc"));
}

#[test]
fn tokens_lie_beside_the_file_unless_said_otherwise() {
    assert_eq!(parse(LISTEN).unwrap().tokens.as_deref(), Some(Path::new("/etc/hc/hc.tokens")));
    let relative = Config::parse(LISTEN, "hc.toml").unwrap().tokens.unwrap();
    assert_eq!(relative, std::env::current_dir().unwrap().join("hc.tokens"));
}

#[test]
fn listeners() {
    let none = "there is no listener; add a section [[listen]] with address = \"127.0.0.1:8080\"";
    assert_eq!(refusal(""), format!("1: {none}"));
    assert_eq!(refusal("\nlisten = []"), format!("2: {none}"));
    for (text, expected) in [
        (
            "[[listen]]\naddress = \"localhost\"",
            "2: \"localhost\" is no address; write a number and a port, such as 127.0.0.1:8080 or [::]:443",
        ),
        (
            "[[listen]]\n\naddress = \"0.0.0.0:80\"",
            "3: others can reach 0.0.0.0:80, and could read along; add tls = { cert = \"FILE\", key = \"FILE\" }, or \
             plain_http = true if that is meant, as behind a proxy that has TLS",
        ),
        (
            "[[listen]]\naddress = \"[::]:443\"\nplain_http = true\ntls = { cert = \"c\", key = \"k\" }",
            "3: plain_http contradicts tls; remove one of them",
        ),
        (
            "[[listen]]\naddress = \"10.0.0.1:443\"\ntls = { cert = \"c\", key = \"k\" }\ninsecure_loopback = true",
            "4: insecure_loopback is for this machine's own clients, who do not reach 10.0.0.1:443; remove it",
        ),
        (
            "[[listen]]\naddress = \"[::1]:80\"\n[[listen]]\naddress = \"[::1]:80\"",
            "4: [::1]:80 is taken by line 2; give another port",
        ),
        (
            "metrics = \"127.0.0.1:80\"\n[[listen]]\naddress = \"127.0.0.1:80\"",
            "1: 127.0.0.1:80 is taken by line 3; give another port",
        ),
        (
            "metrics = 9090\n[[listen]]\naddress = \"127.0.0.1:80\"",
            "1: invalid type: integer `9090`, expected a string",
        ),
        ("[[listen]]\nplain_http = true", "1: the key \"address\" is missing; add it"),
        ("[[listen]]\naddress = \"[::]:443\"\ntls = { cert = \"c\" }", "3: the key \"key\" is missing; add it"),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
    // An address that is loopback in an IPv6 one; any port; TLS.
    for text in [
        "[[listen]]\naddress = \"[::ffff:127.0.0.1]:80\"",
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"",
        "[[listen]]\naddress = \"0.0.0.0:443\"\ntls = { cert = \"c\", key = \"k\" }\ninsecure_loopback = true",
    ] {
        parse(text).unwrap();
    }
}

#[test]
fn urls_and_networks() {
    const FORM: &str = "write scheme and host, as in https://users.example.com";
    for (url, problem) in [
        ("users.example", "does not begin with http:// or https://"),
        ("/path", "does not begin with http:// or https://"),
        ("ftp://users.example", "does not begin with http:// or https://"),
        ("https://", "is no URL"),
        ("https://a b", "is no URL"),
        ("https://user@users.example", "does not name a host alone"),
        ("https://:443", "does not name a host alone"),
        ("https://users.example:99999", "has a port that is none"),
        ("https://users.example:", "has a port that is none"),
        ("https://users.example/?a=b", "has more than scheme, host, port and path"),
        ("https://users.example/#a", "has more than scheme, host, port and path"),
    ] {
        let text = format!("{LISTEN}public_urls = [\n  \"https://fine.example\",\n  {url:?},\n]");
        assert_eq!(refusal(&text), format!("4: {url:?} {problem}; {FORM}"));
    }
    let text = format!("{LISTEN}trusted_proxies = [\"::1\", \"10.1.0.0/8\"]");
    let expected =
        "2: \"10.1.0.0/8\" has bits beyond its prefix; write 10.0.0.0/8, or the one address without a prefix";
    assert_eq!(refusal(&text), expected);
}

#[test]
fn numbers() {
    for (text, expected) in [
        ("token_lifetime = 0", "2: token_lifetime is 0; expected 1 to 31622400"),
        ("[limits]\nexports = 0", "3: exports is 0; expected 1 to 1000000"),
        ("[limits]\ndrain_seconds = 31622401", "3: drain_seconds is 31622401; expected 0 to 31622400"),
        ("limits = { body_bytes = 9000000000 }", "2: body_bytes is 9000000000; expected 1 to 1073741824"),
        ("[limits]\nqueue = -1", "3: invalid value: integer `-1`, expected a number"),
        ("[limits]\nqueue = \"many\"", "3: invalid type: string \"many\", expected a number"),
    ] {
        assert_eq!(refusal(&format!("{LISTEN}{text}")), expected);
    }
    for name in [
        "connections",
        "connections_per_address",
        "handshake_seconds",
        "request_seconds",
        "idle_seconds",
        "body_bytes",
        "exports",
        "transfers",
        "transfers_per_key",
        "slow_seconds",
        "slow_bytes",
    ] {
        assert!(
            refusal(&format!("{LISTEN}[limits]\n{name} = 0")).starts_with(&format!("3: {name} is 0; expected 1 to"))
        );
    }
    parse(&format!("{LISTEN}[limits]\nqueue = 0\nqueue_seconds = 0\nrequests_per_second = 0\ndrain_seconds = 0"))
        .unwrap();
}

#[test]
fn unknown_keys_and_the_known_one_that_is_meant() {
    for (text, expected) in [
        (
            "metric = \"127.0.0.1:1\"",
            "2: there is no key \"metric\" here, did you mean \"metrics\"? There are: listen, public_urls, \
             trusted_proxies, metrics, tokens, token_lifetime, limits, site",
        ),
        ("[[sites]]\napi_key = \"a\"", "2: there is no key \"sites\" here, did you mean \"site\"? There are: "),
        (
            "[limits]\nqueue_secs = 1",
            "3: there is no key \"queue_secs\" here, did you mean \"queue_seconds\"? There are: ",
        ),
        (
            "[[site]]\napi_key = \"3_a\"\nstore = \"s\"\nsecret = []",
            "5: there is no key \"secret\" here, did you mean \"secrets\"? There are: api_key, store, secrets, user_key",
        ),
        ("\"\\u001b[2J\" = 1", "2: there is no key \"\\u{1b}[2J\" here; there are: listen"),
    ] {
        let refusal = refusal(&format!("{LISTEN}{text}"));
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn names_are_unique_and_plain() {
    let key = |name: &str| {
        format!("[[site.user_key]]\nkey = {name:?}\npermissions = [\"export\"]\nsecrets = [{{ env = \"K\" }}]\n")
    };
    for (text, expected) in [
        (format!("{SITE}{SITE}"), "7: api_key \"3_a\" is taken by line 3; give another name"),
        (format!("{SITE}{}{}", key("k"), key("k")), "11: key \"k\" is taken by line 7; give another name"),
        (format!("{SITE}{}", key("3_a")), "7: key \"3_a\" is taken by line 3; give another name"),
        (SITE.replace("3_a", ""), "3: api_key \"\" is empty; give it a name"),
        (
            SITE.replace("3_a", "a\\u001bb"),
            "3: api_key \"a\\u{1b}b\" is not of printable ASCII without spaces; give it another name",
        ),
        (
            SITE.replace("3_a", "3 a"),
            "3: api_key \"3 a\" is not of printable ASCII without spaces; give it another name",
        ),
    ] {
        assert_eq!(refusal(&format!("{LISTEN}{text}")), expected);
    }
    let long = refusal(&format!("{LISTEN}{}", SITE.replace("3_a", &"a".repeat(257))));
    assert!(long.ends_with("is longer than 256 bytes; give it a shorter name"), "{long}");
}

#[test]
fn secrets_and_permissions() {
    let site = |secrets: &str| format!("{LISTEN}{}", SITE.replace("[{ file = \"a.secret\" }]", secrets));
    let key = |permissions: &str| {
        format!(
            "{LISTEN}{SITE}[[site.user_key]]\nkey = \"k\"\npermissions = {permissions}\nsecrets = [{{ env = \"K\" }}]"
        )
    };
    for (text, expected) in [
        (site("[]"), "5: the site \"3_a\" has no secret; add secrets = [{ file = \"FILE\" }]"),
        (
            site("[{ env = \"A\" }, { env = \"B\" }, { file = \"c\" }]"),
            "5: the site \"3_a\" has 3 secrets; at most two are active at a time: remove the ones that no client uses \
             any more",
        ),
        (
            site("[{ env = \"A\" }, { env = \"A\" }]"),
            "5: the site \"3_a\" has the same secret twice; remove one of them",
        ),
        (site("[{ file = \"\" }]"), "5: the path of the secret file is empty"),
        (
            site("[\n{ env = \"A\" },\n{ env = \"A=B\" }]"),
            "7: a variable of the environment has a name without = and NUL, such as SITE_SECRET",
        ),
        (format!("{LISTEN}[[site]]\napi_key = \"3_a\"\nstore = \"s\""), "2: the key \"secrets\" is missing; add it"),
        (
            key("[\"export\", \"admin\"]"),
            "8: \"admin\" is no permission; there are export (read) and write (change users)",
        ),
        (key("[]"), "8: the user key \"k\" may do nothing; give it permissions = [\"export\"], or remove it"),
    ] {
        assert_eq!(refusal(&text), expected);
    }
}

/// Whoever puts a secret into the file does not find it in the log as well.
#[test]
fn a_secret_in_the_file_is_not_shown() {
    for secrets in [
        "\"c2VjcmV0\"",
        "[\"c2VjcmV0\"]",
        "[{ value = \"c2VjcmV0\" }]",
        "[{ c2VjcmV0 = 1 }]",
        "{ file = \"c2VjcmV0\" }",
    ] {
        assert_eq!(
            refusal(&format!("{LISTEN}{}", SITE.replace("[{ file = \"a.secret\" }]", secrets))),
            "5: secrets is a list of { file = \"FILE\" } and { env = \"VARIABLE\" }; a secret itself does not stand in this \
             file",
            "{secrets}"
        );
    }
}

#[test]
fn what_is_no_toml_and_no_file() {
    let text = refusal(&format!("{LISTEN}[limits\n"));
    assert!(text.starts_with("2: this is no TOML: "), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hc.toml");
    let error = Config::load(&file).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the configuration {}", file.display()));
    fs::write(&file, b"# fine\n# \xff\n").unwrap();
    let error = Config::load(&file).unwrap_err();
    assert_eq!(error.to_string(), format!("{}:2: a byte that is not UTF-8; save the file as UTF-8", file.display()));
    fs::write(&file, LISTEN).unwrap();
    assert_eq!(Config::load(&file).unwrap().listen.len(), 1);
}

/// A directory with two private secret files and a configuration of `sites`.
fn scratch(sites: &str) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.secret", "k.secret"] {
        fs::write(dir.path().join(name), "c2VjcmV0").unwrap();
        fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o600)).unwrap();
    }
    let config = Config::parse(&format!("{LISTEN}{sites}"), dir.path().join("hc.toml")).unwrap();
    (dir, config)
}

const KEY: &str = "[[site.user_key]]\nkey = \"k\"\npermissions = [\"export\"]\nsecrets = [{ file = \"k.secret\" }]\n";

#[test]
fn sites_share_a_store_that_is_opened_once() {
    let second = SITE.replace("3_a", "3_b").replace("\"s\"", "\"./other/../s\"");
    let (dir, config) = scratch(&format!("{SITE}{KEY}{second}"));
    fs::create_dir(dir.path().join("other")).unwrap();
    Store::create(dir.path().join("s"), &Options::default()).unwrap().close().unwrap();
    let mut opened = Vec::new();
    let sites = config
        .sites(|path| {
            opened.push(path.to_path_buf());
            Store::open(path, &Options::default()).map(Arc::new)
        })
        .unwrap();
    assert_eq!(opened, [fs::canonicalize(dir.path().join("s")).unwrap()]);
    let (a, b) = (sites.get("3_a").unwrap(), sites.get("3_b").unwrap());
    assert!(Arc::ptr_eq(&a.store, &b.store));
    assert_eq!((a.secrets.len(), a.user_keys.len(), b.user_keys.len()), (1, 1, 0));
    assert_eq!((a.user_keys[0].key.as_str(), a.user_keys[0].permissions.as_slice()), ("k", &[Permission::Export][..]));
}

#[test]
fn what_a_site_cannot_have_is_named_with_the_site() {
    let (dir, config) = scratch(&format!("{SITE}{KEY}"));
    let open = |path: &Path| Store::open(path, &Options::default()).map(Arc::new);
    let error = config.sites(open).unwrap_err();
    let store = dir.path().join("s");
    assert_eq!(error.to_string(), format!("the store {} of the site \"3_a\" cannot be opened", store.display()));
    assert!(matches!(error, ConfigError::Store { source, .. } if matches!(*source, headcount::Error::NotFound { .. })));

    let secret = dir.path().join("k.secret");
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    let error = config.sites(|_| panic!("secrets come first")).unwrap_err().to_string();
    let start = format!("user key \"k\" of the site \"3_a\": the secret file {} has mode 0644", secret.display());
    assert!(error.starts_with(&start) && error.ends_with(&format!("`chmod 600 {}`", secret.display())), "{error}");
    fs::remove_file(dir.path().join("a.secret")).unwrap();
    let error = config.sites(open).unwrap_err().to_string();
    assert!(error.starts_with("site \"3_a\": cannot read the secret file "), "{error}");
}
