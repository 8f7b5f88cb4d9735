//! A session, a plugin's configuration and a transaction from the command line.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{PluginError, hook};
use crate::{
    config::plugins::Grants,
    plugin::hook::{Hook, State},
    trial::scenario::{Kind, PluginPart, Scenario, Session, Step, To},
};

/// What a message looks like that nobody gave.
const MESSAGE: &str = "From: sender@example.com\nTo: recipient@example.org\nSubject: Hello\n\nHello.\n";

/// What a plugin is asked about, and what it may do.
#[derive(Clone, Debug, Args)]
pub(super) struct MadeUp {
    /// Call this hook: connection, sender, recipient, message, recipient-message, delivery or report. Several are called
    /// in the order of a message. None: all that the plugin has, but for delivery and report.
    #[arg(long, value_name = "HOOK", value_parser = hook)]
    pub(super) hook: Vec<Hook>,
    /// The reverse-path; empty: the null reverse-path.
    #[arg(long, value_name = "ADDRESS", default_value = "sender@example.com")]
    from: String,
    /// A recipient; may be given several times.
    #[arg(long, value_name = "ADDRESS", default_value = "recipient@example.org")]
    rcpt: Vec<String>,
    /// The client's address.
    #[arg(long, value_name = "IP", default_value = "192.0.2.1")]
    client: IpAddr,
    /// What the client said in EHLO.
    #[arg(long, value_name = "NAME", default_value = "client.example.com")]
    hello: String,
    /// The login.
    #[arg(long, value_name = "LOGIN")]
    identity: Option<String>,
    /// Grant something: edit, quarantine, reply, resolver, keyvalue, keyvalue=OCTETS, http=SERVER, forwarding (any domain)
    /// or forwarding=DOMAIN.
    #[arg(long, value_name = "GRANT")]
    grant: Vec<String>,
    /// The plugin's settings: a TOML file, as below `[plugin.settings]`.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The time, in seconds since 1970. None: now.
    #[arg(long, value_name = "SECONDS")]
    now: Option<u32>,
    /// For the hooks delivery and report: how many attempts there were, this one included.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    attempt: u32,
    /// For the hook report, what became of the recipient: delivered, discarded, deferred, refused, quarantined,
    /// redirected, failed or expired.
    #[arg(long, value_name = "STATE", default_value = "delivered", value_parser = state)]
    state: State,
    /// For the hook report, the enhanced status, such as 5.1.1.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// For the hook report, what became of the recipient, in words.
    #[arg(long, value_name = "TEXT", default_value = "")]
    text: String,
}

fn state(text: &str) -> Result<State, String> {
    const ALL: [State; 8] = [
        State::Delivered,
        State::Discarded,
        State::Deferred,
        State::Refused,
        State::Quarantined,
        State::Redirected,
        State::Failed,
        State::Expired,
    ];
    let names = || ALL.map(State::as_str).join(", ");
    ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("there are {}", names()))
}

impl MadeUp {
    /// The hooks to call, of those that the plugin has.
    pub(super) fn hooks(&self, has: &[Hook]) -> Result<Vec<Hook>, PluginError> {
        if self.hook.is_empty() {
            return Ok(has.iter().copied().filter(|hook| !matches!(hook, Hook::Delivery | Hook::Report)).collect());
        }
        let hooks: Vec<Hook> = Hook::ALL.into_iter().filter(|hook| self.hook.contains(hook)).collect();
        match hooks.iter().find(|hook| !has.contains(hook)) {
            None => Ok(hooks),
            Some(missing) => {
                let has: Vec<_> = has.iter().map(|hook| hook.as_str()).collect();
                let (missing, has) = (missing.as_str(), has.join(", "));
                Err(PluginError::Usage(format!("the plugin has no hook {missing}; it has {has}")))
            }
        }
    }

    /// What the operator would say about the plugin.
    pub(super) fn plugin(&self) -> Result<PluginPart, PluginError> {
        let settings: BTreeMap<String, toml::Value> = match &self.settings {
            None => BTreeMap::new(),
            Some(file) => {
                let problem = |problem: String| PluginError::File { file: file.clone(), problem };
                let text = fs::read_to_string(file).map_err(|error| problem(error.to_string()))?;
                toml::from_str(&text).map_err(|error| problem(error.to_string()))?
            }
        };
        // It was asked for by name, so it is asked about everybody.
        Ok(PluginPart { grants: granted(&self.grant)?, postmaster: true, settings, ..PluginPart::default() })
    }

    /// One transaction, and what the queue does after it.
    pub(super) fn scenario(&self, plugin: PluginPart, hooks: &[Hook], message: Option<&Path>) -> Scenario {
        let session = Session {
            client_address: Some(self.client),
            hello_name: Some(self.hello.clone()),
            identity: self.identity.clone(),
            ..Session::default()
        };
        let envelope_only = hooks.iter().all(|hook| matches!(hook, Hook::Connection | Hook::Sender | Hook::Recipient));
        let to: Vec<To> = self.rcpt.iter().cloned().map(To::Text).collect();
        let mail = Step {
            from: self.from.clone(),
            to: to.clone(),
            message: (message.is_none() && !envelope_only).then(|| MESSAGE.to_owned()),
            message_file: message.map(Path::to_owned),
            ..Step::default()
        };
        let queue = |kind| Step {
            kind,
            to: to.clone(),
            attempt: self.attempt,
            state: self.state,
            status: self.status.clone(),
            text: self.text.clone(),
            ..Step::default()
        };
        let mut step = vec![mail];
        step.extend(hooks.contains(&Hook::Delivery).then(|| queue(Kind::Delivery)));
        step.extend(hooks.contains(&Hook::Report).then(|| queue(Kind::Report)));
        let now = || u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or(u32::MAX);
        Scenario { plugin, session, start: Some(self.now.unwrap_or_else(now)), step, ..Scenario::default() }
    }
}

fn granted(grants: &[String]) -> Result<Grants, PluginError> {
    let mut granted = Grants::default();
    for grant in grants {
        let (name, value) = grant.split_once('=').map_or((&**grant, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("edit", None) => granted.edit = true,
            ("quarantine", None) => granted.quarantine = true,
            ("reply", None) => granted.reply = true,
            ("resolver", None) => granted.resolver = true,
            ("http", Some(server)) => {
                server
                    .parse::<crate::config::HttpHost>()
                    .map_err(|problem| PluginError::Usage(format!("--grant http: {problem}")))?;
                granted.http.push(server.to_owned());
            }
            ("forwarding", domain) => granted.forwarding.push(domain.unwrap_or("*").to_owned()),
            ("keyvalue", None) => granted.keyvalue = 1 << 20,
            ("keyvalue", Some(octets)) => {
                let number = octets.parse().map_err(|_| PluginError::Usage(format!("--grant {grant}: no number")));
                granted.keyvalue = number?;
            }
            _ => {
                return Err(PluginError::Usage(format!(
                    "--grant {grant}: there are edit, quarantine, reply, keyvalue, keyvalue=OCTETS, forwarding, \
                     forwarding=DOMAIN, resolver and http=SERVER"
                )));
            }
        }
    }
    Ok(granted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn grants_on_the_command_line() {
        let given = ["edit", "reply", "forwarding=example.org", "keyvalue=10"].map(str::to_owned);
        let expected = Grants {
            edit: true,
            reply: true,
            forwarding: vec!["example.org".into()],
            keyvalue: 10,
            ..Grants::default()
        };
        assert_eq!(granted(&given).unwrap(), expected);
        for wrong in ["fly", "edit=1", "keyvalue=many"] {
            assert!(granted(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
