// fuse-epilogues of quantized weights: as of dense ones where kernels read their codes as matrix fragments; not on targets without, with another type of
// bias, or with a norm whose weights have another type than the operands.
// RUN: sed 's/TARGET/sm_80/' %s | llmc-opt --fuse-epilogues | FileCheck %s --check-prefixes=CHECK,FUSED
// RUN: sed 's/TARGET/sm_90/' %s | llmc-opt --fuse-epilogues | FileCheck %s --check-prefixes=CHECK,FUSED
// RUN: sed 's/TARGET/sm_75/' %s | llmc-opt --fuse-epilogues | FileCheck %s --check-prefixes=CHECK,NONE
// The columns of a scaled residual are gathered where the next weight has them in another order.
// RUN: sed 's/TARGET/sm_90/' %s | llmc-opt --fuse-epilogues --select-kernels --lower-to-exec --form-persistent --schedule --plan-memory --verify-exec | FileCheck %s --check-prefix=LOWERED
// LOWERED-LABEL: exec.program @program_forward_layer
// LOWERED-NOT: persistent
// LOWERED: exec.launch @quantized_add_{{.*}}__c_U4__w_bf16__x_bf16
// LOWERED: exec.launch @quantized_glu_{{.*}}__c_U4__w_bf16__x_bf16
// LOWERED-LABEL: exec.program @program_forward_ordered
// LOWERED: exec.launch @quantized_add_int16_u4_bf16_r4__c_U4__w_bf16__x_bf16 {{.*}}write %[[H:[0-9]+]], write %[[Q:[0-9]+]],
// LOWERED: exec.launch @gather_columns_thread__x_bf16 {{.*}}read %[[H]], read %g, write %[[X:[0-9]+]],
// LOWERED: exec.launch @quantized_glu_int16_u4_bf16_r4__c_U4__w_bf16__x_bf16 {{.*}}read %[[X]], {{.*}}read %[[Q]]
!q = !llm.quantized<u4, group 64, scale bf16>
!ordered = !llm.quantized<u4, group 64, scale bf16, ordered>
#codes = #llm.packed<key = "c", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 512, lineStride = 1>
#scales = #llm.scales<key = "s", type = bf16, rowBlock = 1, rowStride = 1, groupStride = 512>

module attributes {llm.target = "TARGET"} {

// CHECK-LABEL: func.func @forward_layer
func.func @forward_layer(%x: tensor<?x128xf32>, %h: tensor<?x128xbf16>, %r: tensor<?xi32>)
    -> (tensor<?x256xbf16>, tensor<?x128xf32>) attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %wp = llm.weight [#llm.part<"wp" rows 0 to 128 cols 0 to 128>] : tensor<128x128x!q>
  %wgu = llm.weight [#llm.part<"wgu" rows 0 to 512 cols 0 to 128>] : tensor<512x128x!q>
  %n = llm.weight [#llm.part<"n" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  // FUSED: %[[S:.*]], %[[H:.*]], %[[Q:.*]] = llm.fused_linear "add"
  // NONE: llm.linear
  %y = llm.linear %h, %wp : (tensor<?x128xbf16>, tensor<128x128x!q>) -> tensor<?x128xf32>
  %s, %g = llm.add_rms_norm %x, %y, %n {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<?x128xf32>, tensor<128xbf16>) -> (tensor<?x128xf32>, tensor<?x128xbf16>)
  // FUSED: llm.fused_linear "glu" %[[H]], %{{.*}} squares %[[Q]]
  // NONE: llm.linear
  %gu = llm.linear %g, %wgu : (tensor<?x128xbf16>, tensor<512x128x!q>) -> tensor<?x512xf32>
  %gate = llm.slice %gu at 0 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %up = llm.slice %gu at 256 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %a = llm.glu %gate, %up : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xbf16>
  return %a, %s : tensor<?x256xbf16>, tensor<?x128xf32>
}

// CHECK-LABEL: func.func @forward_ordered
func.func @forward_ordered(%x: tensor<?x128xf32>, %h: tensor<?x128xbf16>, %r: tensor<?xi32>)
    -> (tensor<?x256xbf16>, tensor<?x128xf32>) attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %wp = llm.weight [#llm.part<"wp" rows 0 to 128 cols 0 to 128>] : tensor<128x128x!q>
  %g = llm.weight [#llm.part<"g" rows 0 to 128 cols 0 to 1>] : tensor<128xi32>
  %wgu = llm.weight [#llm.quantized_part<rows = 512, codes = #codes, scales = #scales, groupOf = "g">] : tensor<512x128x!ordered>
  %n = llm.weight [#llm.part<"n" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  // FUSED: %[[S:.*]], %[[H:.*]], %[[Q:.*]] = llm.fused_linear "add"
  // FUSED: %[[X:.*]] = llm.gather_columns %[[H]] by
  // FUSED: llm.fused_linear "glu" %[[X]], %{{.*}} squares %[[Q]]
  // NONE: llm.linear
  %y = llm.linear %h, %wp : (tensor<?x128xbf16>, tensor<128x128x!q>) -> tensor<?x128xf32>
  %s, %c = llm.add_rms_norm %x, %y, %n {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<?x128xf32>, tensor<128xbf16>) -> (tensor<?x128xf32>, tensor<?x128xbf16>)
  %cs = llm.gather_columns %c by %g {group = 64 : i64} : (tensor<?x128xbf16>, tensor<128xi32>) -> tensor<?x128xbf16>
  %gu = llm.linear %cs, %wgu : (tensor<?x128xbf16>, tensor<512x128x!ordered>) -> tensor<?x512xf32>
  %gate = llm.slice %gu at 0 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %up = llm.slice %gu at 256 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %a = llm.glu %gate, %up : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xbf16>
  return %a, %s : tensor<?x256xbf16>, tensor<?x128xf32>
}

// CHECK-LABEL: func.func @forward_types
// CHECK-NOT: llm.fused_linear
func.func @forward_types(%x: tensor<?x128xf32>, %h: tensor<?x128xbf16>, %r: tensor<?xi32>)
    -> (tensor<?x128xf32>, tensor<?x128xf32>) attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %wp = llm.weight [#llm.part<"wp" rows 0 to 128 cols 0 to 128>] : tensor<128x128x!q>
  %b = llm.weight [#llm.part<"b" rows 0 to 128 cols 0 to 1>] : tensor<128xf16>
  %y = llm.linear %h, %wp bias %b : (tensor<?x128xbf16>, tensor<128x128x!q>, tensor<128xf16>) -> tensor<?x128xf32>
  %s = llm.add %x, %y : (tensor<?x128xf32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  return %s, %x : tensor<?x128xf32>, tensor<?x128xf32>
}
}
