//! What stands below the options in `--help`, of commands whose own files do not say it. It ends with examples, one a
//! line, which are the last section of the manual page, too.

/// How the examples of a help text begin.
pub const EXAMPLES: &str = "Examples:\n";

pub const UVALE: &str = "\
Examples:
  uvale run --private -- ./test.sh
  uvale gen -i vale0:b -f rx -n 1000 & uvale wait vale0:b
  uvale gen -i vale0:a -f tx -n 1000
  uvale ports";

pub const RUN: &str = "\
Examples:
  uvale run -- ./bridge vale0:x vale1:y
  uvale run --private -- ./test.sh
  uvale run --dir /run/lab -- tcpdump -i vale0:m";

pub const DAEMON: &str = "\
Examples:
  uvale daemon --dir /run/lab --max-switches 64
  uvale daemon --dir /run/lab --metrics 127.0.0.1:9464";

pub const GEN: &str = "\
Exit status: 0 all that was asked for, 1 an error, 2 wrong options, 3 packets missing, lost or twice

Examples:
  uvale gen -i vale0:b -f rx -n 1000 --idle 10 & uvale wait vale0:b
  uvale gen -i vale0:a -f tx -n 1000
  uvale gen -i vale0:a -f tx --pcap http.pcap";

pub const STATS: &str = "\
Examples:
  uvale stats --watch
  uvale stats --save before; ./test.sh; uvale stats --since before 'vale0:*'";

pub const PORTS: &str = "\
Examples:
  uvale ports
  uvale ports --json";

pub const SWITCHES: &str = "\
Examples:
  uvale switches";

pub const FDB: &str = "\
An address of zeroes behind port 0 is not shown: in netmap's table an empty entry looks the same

Examples:
  uvale fdb vale0";

pub const WAIT: &str = "\
Examples:
  uvale wait vale0:dut vale1:dut --timeout 10
  uvale wait --gone vale0:dut";

pub const CTL: &str = "\
Examples:
  uvale ctl -n vi0 -C 1024,1024,2
  uvale ctl -a vale0:vi0
  uvale ctl";

pub const CTL_PARAM: &str = "\
Examples:
  uvale ctl param
  uvale ctl param ring_num 400";

pub const STATUS: &str = "\
Examples:
  uvale status
  uvale status --json";

pub const STOP: &str = "\
Examples:
  uvale stop --dir /run/lab";

pub const NIC: &str = "\
Examples:
  uvale nic add tap0 --address 10.0.0.1/24
  uvale nic list
  uvale nic del tap0";

pub const NIC_HELPER: &str = "\
A line of the file is `USER INTERFACE` or `@GROUP INTERFACE`, * being any text: alice eth1; @netmap veth*
An interface after */ is one of another network namespace, in which the caller stands: alice */eth0
The file has to be root's. It is read for each request. # begins a comment

Examples:
  uvale nic-helper --allow /etc/uvale/nic-helper.allow";

pub const VM: &str = "\
Examples:
  uvale vm vhost --port vale0:vm1 --socket /tmp/vm1
  uvale vm run --vhost vale0:vm1 disk.qcow2";

pub const COMPLETIONS: &str = "\
Examples:
  uvale completions bash > ~/.local/share/bash-completion/completions/uvale
  uvale completions fish > ~/.config/fish/completions/uvale.fish";

pub const MAN: &str = "\
Examples:
  uvale man | man -l -
  uvale man ~/.local/share/man/man1";

pub const BENCH: &str = "\
Examples:
  uvale bench
  uvale bench --only vale,pipe --batch 1,256 --json > before.json
  uvale bench --only vale,pipe --compare before.json
  uvale bench --only vale --against ../old/target/release/uvale";
