//! The engines do the same work: a wrong one would be a fast one.

use headcount_block::{Identity, Status, User};

use super::{Engine, KINDS};

fn with_engine(test: impl Fn(&dyn Engine)) {
    for kind in KINDS.iter().filter(|kind| kind.keeps) {
        let dir = tempfile::tempdir().unwrap();
        let engine = (kind.open)(dir.path()).unwrap();
        test(&*engine);
        engine.close().unwrap();
    }
}

fn check(engine: &dyn Engine, users: &[User]) -> Result<(), String> {
    engine.check(&mut users.iter().cloned()).map_err(|error| error.to_string())
}

#[test]
fn an_upsert_takes_back_what_is_no_longer_linked() {
    with_engine(|engine| {
        let old = User::new("u1").with_identity("site", "1").with_identity("line", "2");
        engine.commit(&[old]).unwrap();
        let new = User::new("u1").with_identity("line", "2").with_identity("site", "3").with_status(Status::Pending);
        let heir = User::new("u2").with_identity("site", "1");
        engine.commit(&[new.clone(), heir.clone()]).unwrap();
        check(engine, &[new, heir]).unwrap();
    });
}

#[test]
fn an_identity_of_another_user_refuses_the_whole_batch() {
    with_engine(|engine| {
        let owner = User::new("u1").with_identity("site", "1");
        engine.commit(std::slice::from_ref(&owner)).unwrap();
        let other = User::new("u2").with_identity("line", "2");
        let thief = User::new("u3").with_identity("site", "1");
        assert!(engine.commit(&[other, thief]).is_err());
        check(engine, &[owner]).unwrap();
    });
}

#[test]
fn the_check_can_fail() {
    with_engine(|engine| {
        let users = [User::new("u1").with_identity("site", "1"), User::new("u2")];
        engine.commit(&users).unwrap();
        let [first, second] = users;
        check(engine, &[first.clone(), second.clone()]).unwrap();
        let mut other = first.clone();
        other.identities = vec![Identity::new("site", "2")];
        for (wrong, says) in [
            (vec![first.clone()], "2 users where 1"),
            (vec![first.clone(), User::new("u3")], "lost"),
            (vec![other, second.clone()], "not as it was written"),
        ] {
            let error = check(engine, &wrong).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    });
}
