//! Where records lie in JSON documents: paths such as `users[]`, `[].users[]` or, for a document that is a record, none.

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into the member of this name.
    Key(String),
    /// Into every element of an array.
    Each,
}

/// The steps of a path as the tables of formats write it: names with dots between them, `[]` for "each element".
pub(crate) fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let name = part.trim_end_matches("[]");
        if !name.is_empty() {
            steps.push(Step::Key(name.to_owned()));
        }
        steps.extend((0..(part.len() - name.len()) / 2).map(|_| Step::Each));
    }
    steps
}

/// The path of the array `name` beside the array that `path` ends in.
pub(crate) fn beside(path: &str, name: &str) -> String {
    let parent = path.strip_suffix("[]").unwrap_or(path).rsplit_once('.').map_or("", |(parent, _)| parent);
    if parent.is_empty() { format!("{name}[]") } else { format!("{parent}.{name}[]") }
}

/// How deep the objects lie that pages are: those that hold the arrays of records.
pub(crate) fn page_depth(steps: &[Step]) -> usize {
    usize::from(steps.len() > 1 && steps.first() == Some(&Step::Each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let key = |name: &str| Step::Key(name.to_owned());
        assert_eq!(steps(""), []);
        assert_eq!(steps("[]"), [Step::Each]);
        assert_eq!(steps("users[]"), [key("users"), Step::Each]);
        assert_eq!(steps("[].data.users[]"), [Step::Each, key("data"), key("users"), Step::Each]);
        assert_eq!(beside("orgs[].humanUsers[]", "userLinks"), "orgs[].userLinks[]");
        assert_eq!(beside("users[]", "federatedUsers"), "federatedUsers[]");
        assert_eq!(["users[]", "[]", "", "[].users[]"].map(|path| page_depth(&steps(path))), [0, 0, 0, 1]);
    }
}
