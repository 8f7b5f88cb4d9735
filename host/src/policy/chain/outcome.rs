//! What became of a recipient: its fate, what its plugins wished for, and the copies that they sent on.

use super::{Fate, Step};
use crate::{
    config::plugins::Refused,
    plugin::hook::{Edit, Wishes},
    store::{Address, Asked, Route},
};

/// What became of a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// None: nobody said anything final, which is an acceptance.
    pub fate: Option<Fate>,
    /// What was asked for.
    pub wishes: Wishes,
    /// What of it was asked for before the content, and the edits among it.
    pub asked: (Vec<Edit>, Option<Box<Asked>>),
    /// Who asked for it to be kept aside.
    pub quarantined_by: Option<String>,
    /// Who asked for other recipients.
    pub forwarded_by: Option<String>,
    /// Every hook that ran.
    pub steps: Vec<Step>,
    /// It gets no copy itself: a redirect says so.
    pub sent_away: bool,
    /// The copies that were sent on, if it was accepted by its own plugins.
    pub copies: Vec<Copy>,
    /// What the operator wants if it was refused beside others.
    pub refused: Refused,
}

/// A copy for somebody whom a plugin named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// As the plugin named it.
    pub to: String,
    /// What came of it.
    pub landing: Landing,
}

/// What came of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landing {
    /// It was judged for this address.
    Here(Address, Route, Box<Outcome>),
    /// The message was judged for this address before, with this fate; it gets no other copy.
    Known(Address, Route, Fate),
    /// It goes nowhere, for this reason.
    Nowhere(String),
}

impl Copy {
    /// What became of it, unless it goes nowhere.
    #[must_use]
    pub fn fate(&self) -> Option<Fate> {
        match &self.landing {
            Landing::Here(_, _, outcome) => Some(outcome.fate()),
            Landing::Known(_, _, fate) => Some(fate.clone()),
            Landing::Nowhere(_) => None,
        }
    }
}

impl Outcome {
    /// An acceptance if nobody said anything else.
    #[must_use]
    pub fn fate(&self) -> Fate {
        self.fate.clone().unwrap_or(Fate::Accepted)
    }

    /// The envelope is judged: whoever is judged again goes on from here.
    pub(super) fn envelope_judged(&mut self) {
        let Wishes { edits, redirect, add, quarantine, reply } = self.wishes.clone();
        let (forwarded_by, quarantined_by) = (self.forwarded_by.clone(), self.quarantined_by.clone());
        let asked = Asked { envelope: false, redirect, add, quarantine, reply, forwarded_by, quarantined_by };
        self.asked = (edits, Some(asked).filter(|asked| *asked != Asked::default()).map(Box::new));
    }

    /// The envelope is not judged yet: whoever is judged again begins with these edits, and is asked about it then.
    pub(super) fn envelope_open(&mut self, edits: Vec<Edit>) {
        self.asked = (edits, Some(Box::new(Asked { envelope: true, ..Asked::default() })));
    }

    /// What [`Self::envelope_judged`] remembered.
    pub(super) fn resumed(edits: &[Edit], asked: Option<&Asked>) -> Self {
        let Asked { envelope: _, redirect, add, quarantine, reply, forwarded_by, quarantined_by } =
            asked.cloned().unwrap_or_default();
        let wishes = Wishes { edits: edits.to_vec(), redirect, add, quarantine, reply };
        Self { wishes, forwarded_by, quarantined_by, ..Self::default() }
    }

    /// Remembers who asked for what was not there before.
    pub(super) fn attribute(&mut self, plugin: &str, before: &Wishes) {
        if self.wishes.quarantine != before.quarantine {
            self.quarantined_by = Some(plugin.to_owned());
        }
        if self.wishes.redirect != before.redirect || self.wishes.add != before.add {
            self.forwarded_by = Some(plugin.to_owned());
        }
    }
}
