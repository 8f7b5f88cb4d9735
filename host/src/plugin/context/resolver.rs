//! Questions to the DNS.

use std::{future::Future, net::IpAddr, sync::Arc};

use serde_json::{Value as Json, json};

use super::{Code, Guest, fault};
use crate::{
    dns::{Answer, NoAnswer, Resolver},
    plugin::{
        bindings::hermetic::plugin::{
            resolver::{Exchanger, Host},
            types::Fault,
        },
        ledger::{Ledger, List, Told},
        reason::clean,
    },
};

impl From<NoAnswer> for Fault {
    fn from(error: NoAnswer) -> Self {
        let code = match error {
            NoAnswer::NotFound { .. } => Code::NotFound,
            NoAnswer::Temporary(_) | NoAnswer::Bogus => Code::Unavailable,
            NoAnswer::Invalid(_) => Code::Invalid,
        };
        fault(code, clean(&error.to_string(), 400))
    }
}

/// That there is nothing is an answer too.
fn list<T>(answer: Result<Answer<T>, NoAnswer>) -> Result<Vec<T>, Fault> {
    match answer {
        Ok(answer) => Ok(answer.records),
        Err(NoAnswer::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

impl Guest {
    /// One question, if it may ask and has not asked too often.
    fn question(&mut self) -> Result<Resolver, Fault> {
        if !self.transaction.settings.grants.resolver {
            return Err(fault(Code::NotGranted, "grants.resolver is not set"));
        }
        let most = self.transaction.settings.limits.dns_questions;
        if self.call.questions >= most {
            return Err(fault(Code::Limit, format!("limits.dns-questions are {most} in a call")));
        }
        self.call.questions += 1;
        Ok(self.transaction.settings.network.resolver.clone())
    }

    /// The same with what is written down of it, and from a record, where one is replayed.
    async fn looked_up<T, F>(
        &mut self,
        name: &'static str,
        asked: Option<(Arc<Ledger>, Json)>,
        of: impl FnOnce(Resolver) -> F + Send,
    ) -> wasmtime::Result<Result<Vec<T>, Fault>>
    where
        T: Told + Send,
        F: Future<Output = Result<Answer<T>, NoAnswer>> + Send,
    {
        if let Some(answer) = self.recorded::<List<T>>(name, asked.as_ref())? {
            return Ok(answer.map(|list| list.0));
        }
        let answer = self.ask(name, of).await?.map(List);
        if let Some((ledger, asked)) = asked {
            ledger.add(name, asked, &answer);
        }
        Ok(answer.map(|list| list.0))
    }

    async fn ask<T, F>(
        &mut self,
        name: &'static str,
        of: impl FnOnce(Resolver) -> F + Send,
    ) -> wasmtime::Result<Result<Vec<T>, Fault>>
    where
        T: Send,
        F: Future<Output = Result<Answer<T>, NoAnswer>> + Send,
    {
        self.waiting_seam(name, |guest| {
            let answer = of(guest.question()?);
            Ok(async move { list(answer.await) })
        })
        .await
    }
}

impl Host for Guest {
    async fn addresses(&mut self, name: String) -> wasmtime::Result<Result<Vec<String>, Fault>> {
        let asked = self.asked(|| json!([name]));
        self.looked_up("resolver.addresses", asked, |resolver| async move {
            let Answer { name, records, secure } = resolver.addresses(&name).await?;
            Ok(Answer { name, records: records.iter().map(IpAddr::to_string).collect(), secure })
        })
        .await
    }

    async fn mx(&mut self, name: String) -> wasmtime::Result<Result<Vec<Exchanger>, Fault>> {
        let asked = self.asked(|| json!([name]));
        let exchanger = |exchange: crate::dns::Exchange| {
            let crate::dns::Exchange { preference, name } = exchange;
            Exchanger { preference, name }
        };
        self.looked_up("resolver.mx", asked, |resolver| async move {
            let Answer { name, records, secure } = resolver.mx(&name).await?;
            Ok(Answer { name, records: records.into_iter().map(exchanger).collect(), secure })
        })
        .await
    }

    async fn txt(&mut self, name: String) -> wasmtime::Result<Result<Vec<Vec<u8>>, Fault>> {
        let asked = self.asked(|| json!([name]));
        self.looked_up("resolver.txt", asked, |resolver| async move { resolver.txt(&name).await }).await
    }

    async fn ptr(&mut self, address: String) -> wasmtime::Result<Result<Vec<String>, Fault>> {
        let asked = self.asked(|| json!([address]));
        let parsed = address.parse::<IpAddr>();
        self.looked_up("resolver.ptr", asked, |resolver| async move {
            match parsed {
                Ok(address) => resolver.ptr(address).await,
                Err(_) => Err(NoAnswer::Invalid(address)),
            }
        })
        .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        config::plugins::Grants,
        dns::fake::{Server, Zone},
        plugin::{
            context::{Note, fake::guest},
            network::Network,
        },
        transport::http::Client,
    };

    async fn asking(granted: bool) -> (Server, Guest) {
        let zone = Zone::default()
            .mx("example.org", 10, "mx.example.org")
            .mx("null.example", 0, ".")
            .address("mx.example.org", "192.0.2.1")
            .txt("example.org", &["v=spf1 ", "-all"])
            .ptr("192.0.2.1", "mx.example.org")
            .silent("silent.example");
        let server = Server::start(zone).await;
        let network = Network { resolver: server.resolver(), client: Client::new() };
        let grants = Grants { resolver: granted, ..Grants::default() };
        let guest = guest(grants, network, None, Duration::from_secs(1));
        (server, guest)
    }

    #[tokio::test]
    async fn what_a_plugin_hears() {
        let (_server, mut guest) = asking(true).await;
        assert_eq!(guest.addresses("mx.example.org".into()).await.unwrap().unwrap(), ["192.0.2.1"]);
        let mx = guest.mx("null.example".into()).await.unwrap().unwrap();
        assert_eq!((mx[0].preference, &*mx[0].name), (0, "."));
        assert_eq!(guest.txt("example.org".into()).await.unwrap().unwrap(), [b"v=spf1 -all"]);
        let (_server, mut guest) = asking(true).await;
        assert_eq!(guest.ptr("192.0.2.1".into()).await.unwrap().unwrap(), ["mx.example.org"]);
        assert!(guest.mx("nobody.example".into()).await.unwrap().unwrap().is_empty(), "nothing is an answer");
        assert_eq!(guest.ptr("mx.example.org".into()).await.unwrap().unwrap_err().code, 2);
        let fault = guest.mx("example.org".into()).await.unwrap().unwrap_err();
        assert_eq!((fault.code, &*fault.text), (3, "limits.dns-questions are 3 in a call"));
        let notes = guest.transaction.notes.take().unwrap();
        let notes: Vec<_> =
            notes.lock().iter().map(|note| matches!(note, Note::Call("resolver.mx" | "resolver.ptr", _))).collect();
        assert_eq!(notes, [true; 4], "all of them are seen");
    }

    #[tokio::test]
    async fn what_is_not_granted_or_takes_too_long() {
        let (server, mut guest) = asking(false).await;
        assert_eq!(guest.mx("example.org".into()).await.unwrap().unwrap_err().code, 1);
        assert!(server.asked().is_empty());
        let (_server, mut guest) = asking(true).await;
        let started = Instant::now();
        assert_eq!(guest.mx("silent.example".into()).await.unwrap().unwrap_err().code, 5);
        assert!(started.elapsed() < Duration::from_millis(1800), "{:?}", started.elapsed());
    }
}
