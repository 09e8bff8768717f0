//! What is said before a session is open: the client's HTTP request, and newswire's answer to it.
//!
//! Never here: how a head is cut and understood (`wire`), what a token is worth (the verdict is an argument),
//! what an open session says.

use std::net::IpAddr;

use super::{Encoding, Intent, Kept, Session, SessionRules, wamp2};
use crate::standing::Applicant;
use crate::stats::Refusal;
use crate::wire::files;
use crate::wire::forwarded;
use crate::wire::growth;
use crate::wire::http::{self, Acceptance, Head, NO_LINES, Upgrade};
use crate::wire::token::Token;
use crate::wire::wamp2::SUBPROTOCOL;

/// What is kept from the upgrade until the verdict.
#[derive(Debug)]
pub(super) struct Pending {
    /// The answer to the upgrade; `None` when it has left.
    acceptance: Option<Acceptance>,
    pub(super) encoding: Encoding,
    /// Bytes behind the head. A client has no reason to send any yet.
    pub(super) early: Vec<u8>,
    /// True exactly when the socket may hold bytes for which no further readiness will come.
    pub(super) has_unread: bool,
    /// True exactly when a token is judged that came after the upgrade.
    had_ticket: bool,
    /// As in the open session.
    pub(super) takes_revocations: bool,
}

impl Pending {
    fn new(acceptance: Acceptance, early: Vec<u8>) -> Box<Self> {
        let encoding = match acceptance.subprotocol {
            Some(SUBPROTOCOL) => Encoding::Wamp2,
            _ => Encoding::Wamp1,
        };
        Box::new(Self {
            acceptance: Some(acceptance),
            encoding,
            early,
            has_unread: false,
            had_ticket: false,
            takes_revocations: false,
        })
    }

    /// The upgrade has been answered, and a client of WAMP v2 has shown what it has.
    pub(super) fn after_upgrade(had_ticket: bool, takes_revocations: bool) -> Box<Self> {
        Box::new(Self {
            acceptance: None,
            encoding: Encoding::Wamp2,
            early: Vec::new(),
            has_unread: false,
            had_ticket,
            takes_revocations,
        })
    }

    /// Appends the answer to the upgrade. Returns false when that has left before.
    pub(super) fn accept(&self, out: &mut Vec<u8>) -> bool {
        let acceptance = self.acceptance.as_ref();
        acceptance.inspect(|acceptance| http::encode_acceptance(acceptance, out));
        acceptance.is_some()
    }
}

impl Session {
    pub(super) fn upgrade(
        &mut self,
        input: &[u8],
        peer: IpAddr,
        rules: &SessionRules,
    ) -> (usize, Option<Intent<'static>>) {
        let Kept::Upgrading(kept) = &mut self.0 else {
            return (0, None);
        };
        let before = kept.len();
        let head = if kept.is_empty() {
            input
        } else {
            // A head over its bound is refused, so it has at most the last read beyond that.
            growth::append(kept, input, rules.head_bytes_max);
            // Only a line's end can complete a head: one that comes a byte at a time is not parsed
            // at each of them.
            if !input.contains(&b'\n') && kept.len() <= rules.head_bytes_max {
                return (input.len(), None);
            }
            &kept[..]
        };
        let mut lines = NO_LINES;
        let (refusal, answer) = match Head::parse(head, rules.head_bytes_max, &mut lines) {
            Ok(None) => {
                if kept.is_empty() {
                    *kept = input.to_vec();
                }
                return (input.len(), None);
            }
            Ok(Some(head)) => match http::judge(&head) {
                Ok(upgrade) => {
                    let taken = head.len.saturating_sub(before);
                    let client =
                        forwarded::client(peer, &upgrade.forwarded_for, |a| rules.trusts(a));
                    let intent = match judge(&upgrade, client, rules) {
                        Ok((pending, applicant)) => {
                            // A client of WAMP v2 may show its token later.
                            let is_later =
                                pending.encoding == Encoding::Wamp2 && applicant.token.is_none();
                            self.set_kept(Kept::Checking(pending));
                            match is_later {
                                true => Intent::Greet(Box::new(applicant)),
                                false => Intent::Check(Box::new(applicant)),
                            }
                        }
                        Err(refusal) => Intent::Refuse(refusal, client),
                    };
                    return (taken, Some(intent));
                }
                // A client that wants a file is refused as an upgrade first, so upgrades are not asked. Checks
                // of load balancers speak HTTP/1.0.
                Err(refusal @ (Refusal::NotUpgrade | Refusal::Method | Refusal::HttpVersion)) => {
                    (refusal, files::answer(&head, &rules.files))
                }
                Err(refusal) => (refusal, None),
            },
            Err(fault) => (fault.into(), None),
        };
        // The refusal has to know the method.
        if kept.is_empty() && http::is_head(input) {
            *kept = input.to_vec();
        }
        let intent = answer.map_or(Intent::Refuse(refusal, peer), Intent::Serve);
        (input.len(), Some(intent))
    }

    /// The upgrade came elsewhere, and only the verdict is left to come. `early` came behind the upgrade.
    pub fn admit(&mut self, acceptance: Acceptance, early: Vec<u8>) {
        self.set_kept(Kept::Checking(Pending::new(acceptance, early)));
    }

    /// Returns true when the upgrade was answered with 101.
    pub fn is_upgraded(&self) -> bool {
        match &self.0 {
            Kept::Upgrading(_) => false,
            Kept::Checking(pending) => pending.acceptance.is_none(),
            Kept::Greeting(_) | Kept::Open(_) | Kept::Closing => true,
        }
    }

    /// Returns true when the client has not sent a byte.
    pub fn is_silent(&self) -> bool {
        matches!(&self.0, Kept::Upgrading(kept) if kept.is_empty())
    }

    /// The answer that refuses the client: to the upgrade, or in its protocol after that.
    pub fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        let mut answer = Vec::new();
        match &self.0 {
            Kept::Checking(pending) if self.is_upgraded() => {
                wamp2::refusal(refusal, pending.had_ticket, &mut answer);
            }
            Kept::Greeting(_) => wamp2::refusal(refusal, false, &mut answer),
            kept => {
                // The answer to HEAD has no body.
                let is_head = matches!(kept, Kept::Upgrading(kept) if http::is_head(kept));
                http::encode_refusal(refusal, is_head, &mut answer);
            }
        }
        answer
    }
}

/// Applies newswire's own rules to an upgrade that is good HTTP. `client` is who asks for it.
fn judge(
    upgrade: &Upgrade<'_>,
    client: IpAddr,
    rules: &SessionRules,
) -> Result<(Box<Pending>, Applicant), Refusal> {
    let is_allowed = rules.origins.is_empty()
        || upgrade
            .origin
            .is_none_or(|origin| rules.origins.contains(&origin.to_ascii_lowercase()));
    if !is_allowed {
        return Err(Refusal::Origin);
    }
    let pending = Pending::new(upgrade.acceptance(), Vec::new());
    let applicant = Applicant {
        token: Token::from_target(upgrade.target),
        client,
        origin: upgrade.origin.map(str::to_owned),
    };
    Ok((pending, applicant))
}
