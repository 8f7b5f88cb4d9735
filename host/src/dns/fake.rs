//! A name server on loopback, for tests: one zone, the root, over UDP and TCP; signed if it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "for tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use hickory_resolver::proto::{
    dnssec::{
        Algorithm, DnssecSigner, SigningKey, TBS, TrustAnchors,
        crypto::Ed25519SigningKey,
        rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG, SigInput},
    },
    op::{Message, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordSet, RecordType, SerialNumber,
        rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TXT},
    },
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

use super::Resolver;
use crate::config::Dns;

const TTL: u32 = 300;

/// What the server knows.
#[derive(Default)]
pub(crate) struct Zone {
    records: BTreeMap<(Name, RecordType), Vec<RData>>,
    /// Below these nothing is answered, or only this code.
    broken: Vec<(Name, Option<ResponseCode>)>,
    /// Below these nothing is signed, and the zone says so.
    open: Vec<Name>,
    /// Answers for these have a signature that does not fit, or none.
    forged: Vec<(Name, bool)>,
    signer: Option<DnssecSigner>,
}

pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

impl Zone {
    pub(crate) fn with(mut self, owner: &str, data: RData) -> Self {
        self.records.entry((name(owner), data.record_type())).or_default().push(data);
        self
    }

    pub(crate) fn address(self, owner: &str, address: &str) -> Self {
        self.with(
            owner,
            match address.parse().expect("an address") {
                IpAddr::V4(v4) => RData::A(A(v4)),
                IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
            },
        )
    }

    pub(crate) fn mx(self, owner: &str, preference: u16, exchange: &str) -> Self {
        self.with(owner, RData::MX(MX::new(preference, name(exchange))))
    }

    pub(crate) fn txt(self, owner: &str, strings: &[&str]) -> Self {
        self.with(owner, RData::TXT(TXT::new(strings.iter().map(ToString::to_string).collect())))
    }

    pub(crate) fn alias(self, owner: &str, target: &str) -> Self {
        self.with(owner, RData::CNAME(CNAME(name(target))))
    }

    pub(crate) fn ptr(self, address: &str, target: &str) -> Self {
        let owner = Name::from(address.parse::<IpAddr>().expect("an address"));
        self.with(&owner.to_ascii(), RData::PTR(PTR(name(target))))
    }

    pub(crate) fn silent(mut self, below: &str) -> Self {
        self.broken.push((name(below), None));
        self
    }

    pub(crate) fn fails(mut self, below: &str, code: ResponseCode) -> Self {
        self.broken.push((name(below), Some(code)));
        self
    }

    /// A zone of its own without signatures.
    pub(crate) fn unsigned(mut self, below: &str) -> Self {
        self.open.push(name(below));
        self.with(below, RData::NS(NS(name("ns.invalid"))))
    }

    /// With a signature that does not fit, or without one.
    pub(crate) fn forged(mut self, owner: &str, signature: bool) -> Self {
        self.forged.push((name(owner), signature));
        self
    }

    /// Signs everything. What the root's key is comes back.
    pub(crate) fn signed(mut self) -> (Self, TrustAnchors) {
        let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8().unwrap()).unwrap();
        let public = key.to_public_key().unwrap();
        let dnskey = DNSKEY::from_key(&public);
        let mut anchors = TrustAnchors::empty();
        anchors.insert(&public);
        self.records
            .insert((Name::root(), RecordType::DNSKEY), vec![RData::DNSSEC(DNSSECRData::DNSKEY(dnskey.clone()))]);
        self.records.insert((Name::root(), RecordType::NS), vec![RData::NS(NS(name("ns.invalid")))]);
        self.records.insert((Name::root(), RecordType::SOA), vec![RData::SOA(soa())]);
        let day = std::time::Duration::from_secs(86_400);
        self.signer = Some(DnssecSigner::new(dnskey, Box::new(key), Name::root(), day));
        (self, anchors)
    }

    fn is_open(&self, owner: &Name) -> bool {
        self.open.iter().any(|open| open.zone_of(owner))
    }

    /// Records and, in a signed zone, their signature.
    fn set(&self, owner: &Name, kind: RecordType, data: &[RData]) -> Vec<Record> {
        let mut records: Vec<_> =
            data.iter().map(|data| Record::from_rdata(owner.clone(), TTL, data.clone())).collect();
        let forged = self.forged.iter().find(|(name, _)| name == owner).map(|(_, signature)| *signature);
        // At a cut the parent signs only what is its own.
        let own = !self.is_open(owner) || matches!(kind, RecordType::NSEC);
        let Some(signer) = self.signer.as_ref().filter(|_| own && forged != Some(false)) else { return records };
        let mut set = RecordSet::with_ttl(owner.clone(), kind, TTL);
        set.set_records(records.clone());
        let now = u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let input = SigInput {
            type_covered: kind,
            algorithm: Algorithm::ED25519,
            num_labels: owner.num_labels(),
            original_ttl: TTL,
            sig_expiration: SerialNumber::from(now + 3600),
            sig_inception: SerialNumber::from(now - 3600),
            key_tag: signer.calculate_key_tag().unwrap(),
            signer_name: Name::root(),
        };
        let tbs = TBS::from_input(owner, DNSClass::IN, &input, set.records_without_rrsigs()).unwrap();
        let mut signature = signer.sign(&tbs).unwrap();
        if forged.is_some() {
            signature[0] ^= 1;
        }
        let rrsig = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        records.push(Record::from_rdata(owner.clone(), TTL, rrsig));
        records
    }

    /// That there is nothing between two names, or at one of them.
    fn proof(&self, owner: &Name) -> Vec<Record> {
        let visible = |name: &&Name| !self.is_open(name) || self.open.contains(name);
        let names: BTreeSet<_> = self.records.keys().map(|(name, _)| name).filter(visible).collect();
        let at = names.iter().rfind(|name| **name <= owner).map_or_else(Name::root, |name| (*name).clone());
        let next = names.iter().find(|name| ***name > at).map_or_else(Name::root, |name| (*name).clone());
        let types = self.records.keys().filter(|(name, _)| *name == at).map(|(_, kind)| *kind);
        let nsec = NSEC::new_cover_self(next, types.collect::<Vec<_>>());
        self.set(&at, RecordType::NSEC, &[RData::DNSSEC(DNSSECRData::NSEC(nsec))])
    }

    fn answer(&self, query: &Query, reply: &mut Message) -> Option<()> {
        let mut at = query.name().clone();
        if let Some((_, code)) = self.broken.iter().find(|(below, _)| below.zone_of(&at)) {
            reply.metadata.response_code = (*code)?;
            return Some(());
        }
        for _ in 0..8 {
            if let Some(data) = self.records.get(&(at.clone(), query.query_type())) {
                reply.add_answers(self.set(&at, query.query_type(), data));
                return Some(());
            }
            let Some(data) = self.records.get(&(at.clone(), RecordType::CNAME)) else { break };
            reply.add_answers(self.set(&at, RecordType::CNAME, data));
            let RData::CNAME(target) = &data[0] else { break };
            at = target.0.clone();
        }
        let exists = self.records.keys().any(|(name, _)| at.zone_of(name));
        reply.metadata.response_code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let apex = self.open.iter().find(|open| open.zone_of(&at) && query.query_type() != RecordType::DS);
        let apex = apex.cloned().unwrap_or_else(Name::root);
        reply.add_authorities(self.set(&apex, RecordType::SOA, &[RData::SOA(soa())]));
        if self.signer.is_some() && apex.is_root() {
            let mut proofs = self.proof(&at);
            let mut above = at.base_name();
            loop {
                let wildcard = Name::from_ascii("*").unwrap().append_domain(&above).unwrap();
                proofs.extend(self.proof(&wildcard).into_iter().filter(|_| !exists));
                if above.is_root() {
                    break;
                }
                above = above.base_name();
            }
            let mut seen = BTreeSet::new();
            proofs.retain(|record| seen.insert((record.name.clone(), record.record_type())));
            reply.add_authorities(proofs);
        }
        Some(())
    }
}

fn soa() -> SOA {
    SOA::new(name("ns.invalid"), name("hostmaster.invalid"), 1, 3600, 600, 86_400, 60)
}

/// A running one.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Server {
    pub(crate) async fn start(zone: Zone) -> Self {
        let zone = Arc::new(zone);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let reply = {
            let asked = Arc::clone(&asked);
            move |octets: &[u8], most: usize| -> Option<Vec<u8>> {
                let question = Message::from_vec(octets).ok()?;
                let query = question.queries.first()?.clone();
                asked.lock().push(format!("{} {}", query.query_type(), query.name()));
                let mut reply = question.clone().into_response();
                zone.answer(&query, &mut reply)?;
                let octets = reply.to_vec().unwrap();
                Some(if octets.len() > most { reply.truncate().to_vec().unwrap() } else { octets })
            }
        };
        let over_udp = {
            let reply = reply.clone();
            tokio::spawn(async move {
                let mut octets = [0; 4096];
                while let Ok((length, from)) = udp.recv_from(&mut octets).await {
                    if let Some(reply) = reply(&octets[..length], 1232) {
                        let _ = udp.send_to(&reply, from).await;
                    }
                }
            })
        };
        let over_tcp = tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                while let Ok(length) = stream.read_u16().await {
                    let mut octets = vec![0; length.into()];
                    let Ok(_) = stream.read_exact(&mut octets).await else { break };
                    let Some(reply) = reply(&octets, usize::MAX) else { break };
                    let _ = stream.write_u16(u16::try_from(reply.len()).unwrap()).await;
                    let _ = stream.write_all(&reply).await;
                }
            }
        });
        Self { address, asked, tasks: vec![over_udp, over_tcp] }
    }

    /// Without looking at signatures.
    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::new(&self.config()).expect("a resolver")
    }

    /// Looking at signatures, from this key of the root on.
    pub(crate) fn checking(&self, anchors: TrustAnchors) -> Resolver {
        Resolver::trusting(&Dns { dnssec: true, ..self.config() }, Some(anchors), None).expect("a resolver")
    }

    pub(crate) fn config(&self) -> Dns {
        Dns { servers: vec![self.address], dnssec: false, timeout: 2, ..Dns::default() }
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock())
    }
}

/// Two of the same port.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}
