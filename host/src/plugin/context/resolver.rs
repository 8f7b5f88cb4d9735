//! Questions to the DNS.

use std::{future::Future, net::IpAddr};

use super::{Code, Guest, fault};
use crate::{
    dns::{Answer, NoAnswer, Resolver},
    plugin::{
        bindings::hermetic::plugin::{
            resolver::{Exchanger, Host},
            types::Fault,
        },
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
        let answer = self.ask("resolver.addresses", |resolver| async move { resolver.addresses(&name).await }).await?;
        Ok(answer.map(|addresses| addresses.iter().map(IpAddr::to_string).collect()))
    }

    async fn mx(&mut self, name: String) -> wasmtime::Result<Result<Vec<Exchanger>, Fault>> {
        let answer = self.ask("resolver.mx", |resolver| async move { resolver.mx(&name).await }).await?;
        let exchanger = |exchange: crate::dns::Exchange| {
            let crate::dns::Exchange { preference, name } = exchange;
            Exchanger { preference, name }
        };
        Ok(answer.map(|exchanges| exchanges.into_iter().map(exchanger).collect()))
    }

    async fn txt(&mut self, name: String) -> wasmtime::Result<Result<Vec<Vec<u8>>, Fault>> {
        self.ask("resolver.txt", |resolver| async move { resolver.txt(&name).await }).await
    }

    async fn ptr(&mut self, address: String) -> wasmtime::Result<Result<Vec<String>, Fault>> {
        let parsed = address.parse::<IpAddr>();
        self.ask("resolver.ptr", |resolver| async move {
            match parsed {
                Ok(address) => resolver.ptr(address).await,
                Err(_) => Err(NoAnswer::Invalid(address)),
            }
        })
        .await
    }
}
