# Outlives the cluster, whatever ends the process that started it, and tidies up after it.
#   $1 the cluster's folder   $2 the name of its cgroups   $3 the script of its first process
#
# Standard input is a pipe that the harness holds open. When it closes, however the harness ended,
# the first process ends, and with it the kernel ends each process of its PID namespace; the mounts,
# links and firewall rules go with the mount and network namespaces that nothing uses any more.
set -u
trap '' HUP INT
folder=$1 cgroup=$2 init=$3

exec 9>"$folder/lock"
flock 9
unshare --fork --kill-child=KILL --pid --mount --mount-proc --net --ipc \
    bash -c "$init" init "$folder" 9>&-

for attempt in 1 2 3 4 5 6 7 8 9 10; do
    left=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$cgroup")
    [ -n "$left" ] || break
    find $left -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.2
done
rm -rf "$folder"
