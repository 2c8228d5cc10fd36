//! What a source says is gone, or is no user: it is left out whatever else the files say of it, and counted.

use std::fs;

use headcount_import::{ErrorKind, Format, Import, ImportError, Input, Report};
use headcount_store::LoadOptions;

use super::systems::shown;
use super::{load, load_with, store, users};

/// Imports files with these contents, in this order.
fn files(contents: &[&str]) -> Result<(String, Report), ImportError> {
    let (store, dir) = (store(), tempfile::tempdir().unwrap());
    let import = contents.iter().enumerate().fold(Import::new(&store), |import, (i, content)| {
        let path = dir.path().join(i.to_string());
        fs::write(&path, content).unwrap();
        import.input(Input::path(path))
    });
    let report = import.run()?;
    assert_eq!(report.records, report.accepted + report.skipped + report.rejected, "{report:?}");
    Ok((shown(&users(&store)), report))
}

const ZITADEL: [&str; 2] = [
    r#"{"result":[{"userId":"1","state":"USER_STATE_ACTIVE","human":{}},{"userId":"2","state":"USER_STATE_DELETED","human":{}},
        {"userId":"3","machine":{"name":"m"}},{"userId":"4","human":{}}]}"#,
    r#"{"result":[{"userId":"1","idpId":"h","providedUserId":"a"},{"userId":"2","idpId":"h","providedUserId":"b"},
        {"userId":"3","idpId":"h","providedUserId":"c"}]}"#,
];

const AUTHENTIK: [&str; 2] = [
    r#"{"results":[{"pk":1,"username":"ana","uuid":"u1","type":"internal"},
        {"pk":2,"username":"svc","uuid":"u2","type":"service_account"}]}"#,
    r#"{"results":[{"pk":7,"user":1,"source_obj":{"slug":"h"},"identifier":"a"},
        {"pk":8,"user":2,"source_obj":{"slug":"h"},"identifier":"b"}]}"#,
];

#[test]
fn links_bring_back_nobody_who_was_left_out() {
    let by_links = "identities of accounts that were left out";
    for [list, links] in [ZITADEL, [ZITADEL[1], ZITADEL[0]]] {
        let (found, report) = files(&[list, links]).unwrap();
        assert_eq!(found, "1: h a; 4:");
        let skipped = &report.skipped_by_reason;
        assert_eq!((skipped["deleted"], skipped["machine users"], skipped[by_links]), (1, 1, 2));
    }
    for [list, links] in [AUTHENTIK, [AUTHENTIK[1], AUTHENTIK[0]]] {
        let (found, report) = files(&[list, links]).unwrap();
        assert_eq!(found, "1: h a");
        let skipped = &report.skipped_by_reason;
        assert_eq!((skipped["service accounts"], skipped[by_links]), (1, 1));
    }
    // One a line, as rejects are, and all in one document.
    let lines = r#"{"userId":"2","idpId":"h","providedUserId":"b"}
{"userId":"2","state":"USER_STATE_DELETED","human":{}}
{"userId":"1","human":{}}
"#;
    assert_eq!(files(&[lines]).unwrap().0, "1:");
    let export = r#"{"orgs":[{"humanUsers":[{"userId":"1","user":{}},{"userId":"2","state":"USER_STATE_DELETED","user":{}}],
        "userLinks":[{"userId":"1","idpId":"h","providedUserId":"a"},{"userId":"2","idpId":"h","providedUserId":"b"}]}]}"#;
    assert_eq!(files(&[export]).unwrap().0, "1: h a");
}

/// A link of theirs that cannot be read is no reason to refuse anything: mended, it would bring them back.
#[test]
fn bad_links_of_who_was_left_out_are_left_out_too() {
    let by_links = "identities of accounts that were left out";
    let zitadel = ZITADEL[1].replace(r#""idpId":"h","providedUserId":"b""#, r#""idpId":"h""#);
    let authentik = AUTHENTIK[1].replace(r#","identifier":"b""#, "");
    for (list, links, expected) in [(ZITADEL[0], zitadel, "1: h a; 4:"), (AUTHENTIK[0], authentik, "1: h a")] {
        assert!(![ZITADEL[1], AUTHENTIK[1]].contains(&links.as_str()));
        let (found, report) = files(&[list, &links]).unwrap();
        assert_eq!((found.as_str(), report.rejected), (expected, 0));
        assert!(report.skipped_by_reason[by_links] > 0, "{report:?}");
        // Those of others are refused.
        let error = files(&[list, &links.replace("\"a\"", "[]")]).map(|(found, _)| found).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    }
}

/// Rows of our own, and of tables of links, are parts of users as links are.
#[test]
fn rows_bring_back_nobody_who_was_left_out() {
    for rows in [
        "UID,provider,providerUID\n1,h,a\n2,h,b\n3,h,c\n3,g,d\n4,,\n",
        "user_id,provider,uid\n1,h,a\n2,h,b\n3,h,c\n3,g,d\n4,NULL,NULL\n",
    ] {
        for contents in [[ZITADEL[0], rows], [rows, ZITADEL[0]]] {
            let (found, report) = files(&contents).unwrap();
            assert_eq!(found, "1: h a; 4:");
            assert_eq!(report.skipped, 5, "{:?}", report.skipped_by_reason);
        }
        let bytes = [ZITADEL[0], rows].map(str::as_bytes);
        let error = load_with(&store(), Format::Auto, &bytes, LoadOptions::default()).map(|r| r.users).unwrap_err();
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("as files"), "{error}");
    }
    // Nor do bad ones, which would be mended.
    for rows in [
        "UID,provider,providerUID,deleted\n1,h,a,f\n2,,b,f\n3,h,,f\n3,h,c,t\n",
        "UID,provider,providerUID\n1,h,a\n2,h,b,more\n2,h\n2,h,\"b\"x\n3\n",
        "user_id,provider,uid\n1,h,a\n2,,b\n3,h,\n",
        "user_id,provider,uid\n1,h,a\n2,h,b,more\n2,h\n2,h,\"b\"x\n3\n",
    ] {
        for contents in [[ZITADEL[0], rows], [rows, ZITADEL[0]]] {
            let (found, report) = files(&contents).unwrap_or_else(|e| panic!("{e}: {rows}"));
            assert_eq!((found.as_str(), report.rejected), ("1: h a; 4:", 0));
        }
        let error = files(&[ZITADEL[0], &rows.replace("1,h,a", "1,,a")]).map(|(found, _)| found).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    }
}

const SUPABASE: &str = "id,aud,deleted_at\nu1,x,\nu2,x,2024-02-02\n";

/// A table of users says who is deleted whatever the others are that have identities.
#[test]
fn who_a_table_of_users_says_is_deleted_is_brought_back_by_no_other_file() {
    let links = r#"{"result":[{"userId":"u1","idpId":"h","providedUserId":"a"},{"userId":"u2","idpId":"h","providedUserId":"b"}]}"#;
    let fusion = r#"{"identityProviderLinks":[{"userId":"u1","identityProviderType":"h","identityProviderUserId":"a"},
        {"userId":"u2","identityProviderType":"h","identityProviderUserId":"b"}]}"#;
    let rows = ["UID,provider,providerUID\nu1,h,a\nu2,h,b\n", "user_id,provider,uid\nu1,h,a\nu2,h,b\n"];
    for parts in [rows[0], rows[1], links, fusion] {
        for contents in [[SUPABASE, parts], [parts, SUPABASE]] {
            let (found, report) = files(&contents).unwrap();
            assert_eq!(found, "u1: h a", "{parts}");
            assert_eq!(report.skipped, 2, "{:?}", report.skipped_by_reason);
        }
        let bytes = [SUPABASE, parts].map(str::as_bytes);
        let error = load_with(&store(), Format::Auto, &bytes, LoadOptions::default()).map(|r| r.users).unwrap_err();
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("as a file"), "{error}");
    }
}

/// Rows that are whole users are no identities of somebody else's.
#[test]
fn whole_users_are_read_whoever_another_list_leaves_out() {
    let cognito = "cognito:username,cognito:mfa_enabled,sub\n2,false,s2\n";
    let (found, report) = files(&[ZITADEL[0], ZITADEL[1], cognito]).unwrap();
    assert_eq!(found, "1: h a; 2:; 4:", "{:?}", report.skipped_by_reason);
}

/// What comes once only cannot be looked at beforehand: it is refused when that matters.
#[test]
fn streams_of_parts_are_refused_when_links_would_bring_somebody_back() {
    for contents in [ZITADEL, AUTHENTIK] {
        let store = store();
        let bytes = contents.map(str::as_bytes);
        let error = load_with(&store, Format::Auto, &bytes, LoadOptions::default()).map(|r| r.users).unwrap_err();
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("as files"), "{error}");
        assert_eq!(users(&store), []);
        // Users alone, or links alone, can come as they like.
        for content in contents {
            load(&super::store(), Format::Auto, content).unwrap();
        }
    }
}

#[test]
fn accounts_that_are_no_users_are_left_out() {
    let group = r#"{"id":"g1","displayName":"staff","schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]}"#;
    let list = |records: &str| format!(r#"{{"totalResults":3,"Resources":[{records}]}}"#);
    let scim = list(&format!(r#"{{"id":"u1","userName":"ana"}},{group},{{"id":"g2","members":[{{"value":"u1"}}]}}"#));
    let keycloak = r#"{"realm":"r","users":[{"id":"k1","username":"ana","serviceAccountClientId":null},
        {"id":"k2","username":"service-account-c","serviceAccountClientId":"c","federatedIdentities":[]}]}"#;
    let graph = r##"{"@odata.context":"x","value":[{"@odata.type":"#microsoft.graph.user","id":"a1"},
        {"@odata.type":"#microsoft.graph.group","id":"a2"},{"@odata.type":"#microsoft.graph.device","id":"a3"},
        {"id":"a4","userPrincipalName":"bo"}]}"##;
    for (format, text, expected, reasons) in [
        (Format::Scim, scim.as_str(), "u1:", &[("groups", 2)][..]),
        (Format::Keycloak, keycloak, "k1:", &[("service accounts", 1)]),
        (Format::Graph, graph, "a1:; a4:", &[("objects that are no users", 2)]),
    ] {
        for given in [Format::Auto, format] {
            let store = store();
            let report = load(&store, given, text).unwrap();
            assert_eq!(shown(&users(&store)), expected, "{format}");
            let skipped: Vec<_> = report.skipped_by_reason.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
            assert_eq!(skipped, reasons, "{format}");
        }
    }
}

/// Of parts no record shows whether another has an identity.
#[test]
fn users_in_parts_are_not_said_to_come_without_identities() {
    let tables = [
        "id,aud,deleted_at\nu1,x,\nu2,x,\n",
        "provider_id,user_id,identity_data,provider\n1,u1,{},google\n2,u2,{},google\n",
    ];
    for contents in [tables, ZITADEL, AUTHENTIK] {
        assert_eq!(files(&contents).unwrap().1.without_identities, 0, "{}", contents[0]);
    }
    assert_eq!(files(&[r#"{"user_id":"auth0|1","identities":[]}"#]).unwrap().1.without_identities, 1);
}
