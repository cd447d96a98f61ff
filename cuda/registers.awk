# Reads what ptxas -v says; prints "entry architecture registers shared" for each kernel it compiled:
# registers of a thread, bytes of shared memory of a block that the kernel declares.
/Compiling entry function/ { split($0, quoted, "'"); entry = quoted[2]; architecture = quoted[4] }
/Used [0-9]+ registers/ {
  shared = 0
  for (i = 1; i < NF; ++i) {
    if ($i == "Used") registers = $(i + 1)
    if ($(i + 2) ~ /^smem/ && $(i + 1) == "bytes") shared = $i
  }
  print entry, architecture, registers, shared
}
