# The first process of the cluster's PID namespace. It sees the machine's files, except where the
# cluster's programs write to fixed places: there it has folders of its own.
#   $1 the cluster's folder
set -eu
folder=$1

# What kubelet and containerd mount is to be seen by the other, and by nobody else.
mount --make-rshared /

mount -t tmpfs -o mode=755 run /run
mkdir -p /run/netns /run/lock

mkdir -p "$folder/var-log"
mount --bind "$folder/var-log" /var/log

# A new /var/lib with everything that was there, but for what Kubernetes would write into.
mkdir /run/machine-lib
mount --rbind /var/lib /run/machine-lib
mount -t tmpfs -o mode=755 lib /var/lib
for entry in /run/machine-lib/*/; do
    name=$(basename "$entry")
    case $name in
    cni | kubelet | containerd | etcd | '*') ;;
    *) mkdir "/var/lib/$name" && mount --rbind "$entry" "/var/lib/$name" ;;
    esac
done

# The kubelet writes these settings of the whole machine unless they read as it wants.
pretend() {
    [ -e "/proc/sys/$1" ] || return 0
    echo "$2" >"$folder/sysctl-${1##*/}"
    mount --bind "$folder/sysctl-${1##*/}" "/proc/sys/$1"
}
pretend vm/overcommit_memory 1
pretend vm/panic_on_oom 0
pretend kernel/panic 10
pretend kernel/panic_on_oops 1
pretend kernel/keys/root_maxkeys 1000000
pretend kernel/keys/root_maxbytes 25000000

ip link set lo up
echo ready
# Ends with the harness. Meanwhile bash collects the processes that are left to it.
read -r _ || true
