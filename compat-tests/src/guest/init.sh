#!/bin/sh
# The first program of a guest. It does what the test says over the second serial line, a command a line with a number
# in front, and answers with the command's output and a line "=== NUMBER STATUS".
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
for module in $(sed -n 's/.*load=\([^ ]*\).*/\1/p' /proc/cmdline | tr , ' '); do
    insmod "/modules/$module.ko"
done
stty -F /dev/ttyS1 raw -echo
# A child that ends while this shell reads a line makes it forget what it has read. So commands that run beside others
# are not its children: they become those of the shell outside, which reads nothing.
(
    exec 3<>/dev/ttyS1 >&3 2>&3 </dev/null
    echo "guest ready: $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s"
    while read -r number command <&3; do
        eval "$command"
        echo "=== $number $?"
    done
)
poweroff -f
