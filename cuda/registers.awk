# Reads what ptxas -v says; prints "entry architecture registers" for each kernel it compiled.
/Compiling entry function/ { split($0, quoted, "'"); entry = quoted[2]; architecture = quoted[4] }
/Used [0-9]+ registers/ {
  for (i = 1; i < NF; ++i) if ($i == "Used") print entry, architecture, $(i + 1)
}
