# Reads PTX as nvcc writes it; prints a line for each entry that the emulator's registry is made of:
# name, largest block, cluster, shared memory, registers, and the bytes of each parameter. With
# -v table=FILE, nvcc's registers of each entry, fails where the image lacks an entry.

function bytes_of(type) {
  gsub(/[^0-9]/, "", type)
  return type / 8
}
function fail(why) {
  print "entries.awk: " why > "/dev/stderr"
  failed = 1
  exit 1
}
BEGIN {
  while (table && (getline line < table) > 0) {
    split(line, field, " ")
    if (field[2] == "sm_90") registers[field[1]] = field[3]
  }
}

# An array that several entries use stands before them all.
/^\.shared/ && match($0, /\[[0-9]+\];/) {
  array = $NF
  sub(/\[.*/, "", array)
  common[array] = substr($0, RSTART + 1, RLENGTH - 3)
}

/^\.visible \.entry/ {
  split("", counted)
  name = $3
  sub(/\(.*/, "", name)
  threads = 1024; cluster = "1, 1, 1"; shared = 0; parameters = ""
}
name && /^\t\.param/ {
  line = $0
  gsub(/[,)]/, "", line)
  fields = split(line, field, " ")
  if (match(field[fields], /\[[0-9]+\]$/)) {
    size = substr(field[fields], RSTART + 1, RLENGTH - 2)
  } else {
    size = bytes_of(field[2])
  }
  parameters = parameters ", " size
}
name && /^\.maxntid/ { gsub(/,/, ""); threads = $2 * $3 * $4 }
name && /^\.reqnctapercluster/ { sub(/^\.reqnctapercluster /, ""); cluster = $0 }
name && /^\t\.shared/ && match($0, /\[[0-9]+\];/) { shared += substr($0, RSTART + 1, RLENGTH - 3) }
name {
  for (array in common) {
    if (index($0, array) && !(array in counted)) {
      counted[array] = 1
      shared += common[array]
    }
  }
}
name && /^}/ {
  if (table && !(name in registers)) fail("the image has no entry " name)
  printf "ENTRY(%s, %d, (%s), %d, %d%s)\n", name, threads, cluster, shared, registers[name], parameters
  name = ""
}
END { if (failed) exit 1 }
