//! The store in a bucket of moto, which imitates S3: `cargo test -p foreshock-checkpoint --features s3-tests`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use foreshock_checkpoint::{SnapshotStore, open};

use crate::conformance;

const MOTO: &str = "moto[server]==5.2.5";
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A server on loopback, stopped when dropped.
struct Moto {
    process: Child,
    address: SocketAddr,
}

impl Moto {
    fn start() -> Moto {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(moto_server())
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut moto = Moto { process, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(moto.process.try_wait().unwrap().is_none(), "moto_server has ended");
            assert!(started.elapsed() < START_TIMEOUT, "moto_server does not listen on {address}");
            std::thread::sleep(Duration::from_millis(100));
        }
        moto
    }

    /// The protocol's crate cannot create buckets; moto does not ask for a signature.
    fn create_bucket(&self, bucket: &str) {
        let mut connection = TcpStream::connect(self.address).unwrap();
        let request = format!(
            "PUT /{bucket} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn store(&self, url: &str) -> Box<dyn SnapshotStore> {
        let endpoint = format!("http://{}", self.address);
        let options = [
            ("endpoint", endpoint.as_str()),
            ("region", "us-east-1"),
            ("access_key_id", "key"),
            ("secret_access_key", "secret"),
            ("allow_http", "true"),
        ];
        let options: BTreeMap<_, _> =
            options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        open(url, &options).unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program, which is fetched once for each target directory.
fn moto_server() -> PathBuf {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto");
    let program = environment.join("bin/moto_server");
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment));
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", MOTO]));
    }
    program
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{command:?}: {status:?}");
}

#[test]
fn a_bucket_is_a_store() {
    let moto = Moto::start();
    moto.create_bucket("snapshots");
    conformance::check(moto.store("s3://snapshots").as_ref());
    conformance::check(moto.store("s3://snapshots/of/one%20team/").as_ref());

    // One prefix does not see another's, also if its name begins alike.
    let name = "g/t/0/00000000000000000001-1.snapshot";
    moto.store("s3://snapshots/of").put(name, b"x").unwrap();
    assert_eq!(moto.store("s3://snapshots/o").list("").unwrap(), []);
    assert_eq!(moto.store("s3://snapshots/of").list("").unwrap().len(), 1);

    // More than one page of a list.
    let store = moto.store("s3://snapshots/many");
    let names: Vec<_> = (0..1003).map(|offset| format!("g/t/0/{offset:020}-1.snapshot")).collect();
    names.iter().for_each(|name| store.put(name, b"x").unwrap());
    let listed: Vec<_> = store.list("g/t").unwrap().into_iter().map(|stored| stored.name).collect();
    assert_eq!(listed, names);

    let large = vec![7; 32 << 20];
    let began = Instant::now();
    store.put(name, &large).unwrap();
    assert_eq!(store.get(name).unwrap(), large);
    eprintln!("32 MiB written and read in {:?}", began.elapsed());

    let missing = moto.store("s3://nowhere").put(name, b"x").unwrap_err();
    assert!(missing.to_string().contains("create it"), "{missing}");
}
