//! What somebody may have meant who misspelt the name of an option.
//!
//! Never here: which names there are.

use super::ENVIRONMENT_PREFIX;

/// `; did you mean …?`, or where to find the list.
pub(super) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => "; `newswire --help` lists them all".to_owned(),
    }
}

/// The one of `known` that `name` is most likely a misspelling of.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |name: &'a str| name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name);
    let name = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name);
    known
        .map(|known| (strsim::levenshtein(name, bare(known)), known))
        .min()
        // Past a third of its letters the resemblance is chance.
        .filter(|&(distance, known)| distance <= (bare(known).len() / 3).max(1))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_near_while_two_thirds_of_it_are_right() {
        let known = ["ping-interval", "sub"];
        for (name, expected) in [
            ("ping_intervall", Some("ping-interval")),
            ("NEWSWIRE_sbu", None),
            ("su", Some("sub")),
            ("frobnicate", None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
    }
}
