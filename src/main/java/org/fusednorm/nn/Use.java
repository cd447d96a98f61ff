package org.fusednorm.nn;

/** What a layer is bound for. */
public enum Use {
  /** Batch statistics, kept for backward and taken into the running ones. */
  TRAIN,
  /** Running statistics, no backward. */
  INFER
}
