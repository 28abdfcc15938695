"""TFLite's schema as one literal table: every table's fields in slot order, with the schema's own names and words.

Source: google-ai-edge/LiteRT, tflite/schema/schema.fbs (revision 3d). The names and numbers of the enums come from the
`tflite` package, so they are not repeated here; `NEWER` adds what the schema has gained since that package was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import tflite

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3  # Model.version that TFLite accepts (tflite/version.h, TFLITE_SCHEMA_VERSION)
PLACEHOLDER_FOR_GREATER_OP_CODES = 127  # what deprecated_builtin_code, a byte, holds when builtin_code does not fit

EnumValue: TypeAlias = str | int  # a name of the schema, or the number as stored where the schema has no name for it


@dataclass(frozen=True)
class Field:
    """One row of a table.

    `type` is the schema's word: a scalar ("int"), "string", "[int]" a vector of scalars, an enum ("Padding") or a
    vector of one, a table ("SubGraph") or a vector of tables ("[Tensor]"), a union ("BuiltinOptions", which takes two
    slots: the member's number, then the member), "blob" (a [ubyte] that is opaque data), or "deprecated" (a slot that
    is neither read nor written). `default` is the value of an absent field; an absent string, vector, table or union is
    None. `align` is the schema's force_align of a vector's elements.
    """

    name: str
    type: str
    default: Any = None
    align: int = 0


def _values(enum: type) -> dict[str, int]:
    return {name: value for name, value in vars(enum).items() if not name.startswith("_")}


NEWER: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "TensorType": {"INT2": 19, "UINT4": 20, "FLOAT8_E4M3FN": 21, "FLOAT8_E5M2": 22},
        "BuiltinOperator": {"STABLEHLO_CASE": 209},
        "QuantizationDetails": {"BlockwiseQuantization": 2, "MultiAxisQuantization": 3},
        "BuiltinOptions2": {"StablehloCaseOptions": 23},
    }
)

# Unions and enums: name -> the scalar that stores the number.
UNIONS: Mapping[str, str] = MappingProxyType(
    {
        "QuantizationDetails": "ubyte",
        "SparseIndexVector": "ubyte",
        "BuiltinOptions": "ubyte",
        "BuiltinOptions2": "ubyte",
    }
)

ENUMS: Mapping[str, str] = MappingProxyType(
    {
        "ActivationFunctionType": "byte",
        "BuiltinOperator": "int",
        "CombinerType": "byte",
        "CustomOptionsFormat": "byte",
        "DimensionType": "byte",
        "FullyConnectedOptionsWeightsFormat": "byte",
        "LSHProjectionType": "byte",
        "LSTMKernelType": "byte",
        "MirrorPadMode": "byte",
        "Padding": "byte",
        "ReduceWindowFunction": "int",
        "RngAlgorithm": "byte",
        "StablehloComparisonDirection": "uint",
        "StablehloComparisonType": "uint",
        "StablehloPrecisionConfig": "uint",
        "TensorType": "byte",
    }
)

# Enum or union name -> {name: number}.
ENUM_VALUES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        enum.__name__: MappingProxyType({**_values(enum), **NEWER.get(enum.__name__, {})})
        for enum in (
            tflite.ActivationFunctionType,
            tflite.BuiltinOperator,
            tflite.BuiltinOptions,
            tflite.BuiltinOptions2,
            tflite.CombinerType,
            tflite.CustomOptionsFormat,
            tflite.DimensionType,
            tflite.FullyConnectedOptionsWeightsFormat,
            tflite.LSHProjectionType,
            tflite.LSTMKernelType,
            tflite.MirrorPadMode,
            tflite.Padding,
            tflite.QuantizationDetails,
            tflite.ReduceWindowFunction,
            tflite.RngAlgorithm,
            tflite.SparseIndexVector,
            tflite.StablehloComparisonDirection,
            tflite.StablehloComparisonType,
            tflite.StablehloPrecisionConfig,
            tflite.TensorType,
        )
    }
)

# Enum or union name -> {number: name}.
ENUM_NAMES: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {enum: MappingProxyType({number: name for name, number in values.items()}) for enum, values in ENUM_VALUES.items()}
)

TABLES: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    {
        "CustomQuantization": (Field("custom", "blob", align=16),),
        "BlockwiseQuantization": (
            Field("scales", "int", 0),
            Field("zero_points", "int", 0),
            Field("block_size", "int", 0),
        ),
        "MultiAxisQuantization": (
            Field("scales", "int", 0),
            Field("zero_points", "int", 0),
            Field("block_size", "int", 0),
            Field("quantized_dimensions", "[int]"),
        ),
        "QuantizationParameters": (
            Field("min", "[float]"),
            Field("max", "[float]"),
            Field("scale", "[float]"),
            Field("zero_point", "[long]"),
            Field("details", "QuantizationDetails"),
            Field("quantized_dimension", "int", 0),
        ),
        "Int32Vector": (Field("values", "[int]"),),
        "Uint16Vector": (Field("values", "[ushort]", align=4),),
        "Uint8Vector": (Field("values", "[ubyte]", align=4),),
        "DimensionMetadata": (
            Field("format", "DimensionType", "DENSE"),
            Field("dense_size", "int", 0),
            Field("array_segments", "SparseIndexVector"),
            Field("array_indices", "SparseIndexVector"),
        ),
        "SparsityParameters": (
            Field("traversal_order", "[int]"),
            Field("block_map", "[int]"),
            Field("dim_metadata", "[DimensionMetadata]"),
        ),
        "VariantSubType": (
            Field("shape", "[int]"),
            Field("type", "TensorType", "FLOAT32"),
            Field("has_rank", "bool", False),
        ),
        "Tensor": (
            Field("shape", "[int]"),
            Field("type", "TensorType", "FLOAT32"),
            Field("buffer", "uint", 0),
            Field("name", "string"),
            Field("quantization", "QuantizationParameters"),
            Field("is_variable", "bool", False),
            Field("sparsity", "SparsityParameters"),
            Field("shape_signature", "[int]"),
            Field("has_rank", "bool", False),
            Field("variant_tensors", "[VariantSubType]"),
            Field("external_buffer", "uint", 0),
        ),
        "StablehloGatherOptions": (
            Field("offset_dims", "[long]"),
            Field("collapsed_slice_dims", "[long]"),
            Field("start_index_map", "[long]"),
            Field("index_vector_dim", "long", 0),
            Field("slice_sizes", "[long]"),
            Field("indices_are_sorted", "bool", False),
        ),
        "StablehloTransposeOptions": (Field("permutation", "[long]"),),
        "StablehloDotGeneralOptions": (
            Field("lhs_batching_dimensions", "[long]"),
            Field("rhs_batching_dimensions", "[long]"),
            Field("lhs_contracting_dimensions", "[long]"),
            Field("rhs_contracting_dimensions", "[long]"),
            Field("precision_config", "[StablehloPrecisionConfig]"),
        ),
        "StablehloReduceWindowOptions": (
            Field("window_dimensions", "[long]"),
            Field("window_strides", "[long]"),
            Field("base_dilations", "[long]"),
            Field("window_dilations", "[long]"),
            Field("padding", "[long]"),
            Field("body_subgraph_index", "int", 0),
        ),
        "StablehloWhileOptions": (
            Field("cond_subgraph_index", "int", 0),
            Field("body_subgraph_index", "int", 0),
        ),
        "StablehloSortOptions": (
            Field("dimension", "long", 0),
            Field("is_stable", "bool", False),
            Field("comparator_subgraph_index", "int", 0),
        ),
        "StablehloConcatenateOptions": (Field("dimension", "long", 0),),
        "StablehloBroadcastInDimOptions": (Field("broadcast_dimensions", "[long]"),),
        "StablehloCompareOptions": (
            Field("comparison_direction", "StablehloComparisonDirection", "STABLEHLO_COMPARISON_DIRECTION_EQ"),
            Field("compare_type", "StablehloComparisonType", "STABLEHLO_COMPARISON_TYPE_NOTYPE"),
        ),
        "StablehloDynamicSliceOptions": (Field("slice_sizes", "[long]"),),
        "StablehloPadOptions": (
            Field("edge_padding_low", "[long]"),
            Field("edge_padding_high", "[long]"),
            Field("interior_padding", "[long]"),
        ),
        "StablehloIotaOptions": (Field("iota_dimension", "long", 0),),
        "StablehloCustomCallOptions": (
            Field("call_target_name", "string"),
            Field("has_side_effect", "bool", False),
            Field("backend_config", "string"),
            Field("api_version", "int", 0),
            Field("called_computations", "[int]"),
            Field("custom_attributes", "blob"),
        ),
        "StablehloReduceOptions": (
            Field("dimensions", "[long]"),
            Field("body_subgraph_index", "int", 0),
        ),
        "StablehloSliceOptions": (
            Field("start_indices", "[long]"),
            Field("limit_indices", "[long]"),
            Field("strides", "[long]"),
        ),
        "StablehloConvolutionOptions": (
            Field("window_strides", "[long]"),
            Field("padding", "[long]"),
            Field("lhs_dilation", "[long]"),
            Field("rhs_dilation", "[long]"),
            Field("window_reversal", "[bool]"),
            Field("input_batch_dimension", "long", 0),
            Field("input_feature_dimension", "long", 0),
            Field("input_spatial_dimensions", "[long]"),
            Field("kernel_input_feature_dimension", "long", 0),
            Field("kernel_output_feature_dimension", "long", 0),
            Field("kernel_spatial_dimensions", "[long]"),
            Field("output_batch_dimension", "long", 0),
            Field("output_feature_dimension", "long", 0),
            Field("output_spatial_dimensions", "[long]"),
            Field("feature_group_count", "long", 0),
            Field("batch_group_count", "long", 0),
            Field("precision_config", "[StablehloPrecisionConfig]"),
        ),
        "StablehloScatterOptions": (
            Field("indices_are_sorted", "bool", False),
            Field("update_window_dims", "[long]"),
            Field("inserted_window_dims", "[long]"),
            Field("scatter_dims_to_operand_dims", "[long]"),
            Field("index_vector_dim", "long", 0),
            Field("unique_indices", "bool", False),
            Field("update_computation_subgraph_index", "int", 0),
        ),
        "StablehloCaseOptions": (Field("branch_subgraph_indices", "[int]"),),
        "StablehloRngBitGeneratorOptions": (Field("algorithm", "RngAlgorithm", "DEFAULT"),),
        "Conv2DOptions": (
            Field("padding", "Padding", "SAME"),
            Field("stride_w", "int", 0),
            Field("stride_h", "int", 0),
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("dilation_w_factor", "int", 1),
            Field("dilation_h_factor", "int", 1),
            Field("quantized_bias_type", "TensorType", "FLOAT32"),
        ),
        "Conv3DOptions": (
            Field("padding", "Padding", "SAME"),
            Field("stride_d", "int", 0),
            Field("stride_w", "int", 0),
            Field("stride_h", "int", 0),
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("dilation_d_factor", "int", 1),
            Field("dilation_w_factor", "int", 1),
            Field("dilation_h_factor", "int", 1),
        ),
        "Pool2DOptions": (
            Field("padding", "Padding", "SAME"),
            Field("stride_w", "int", 0),
            Field("stride_h", "int", 0),
            Field("filter_width", "int", 0),
            Field("filter_height", "int", 0),
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
        ),
        "DepthwiseConv2DOptions": (
            Field("padding", "Padding", "SAME"),
            Field("stride_w", "int", 0),
            Field("stride_h", "int", 0),
            Field("depth_multiplier", "int", 0),
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("dilation_w_factor", "int", 1),
            Field("dilation_h_factor", "int", 1),
        ),
        "ConcatEmbeddingsOptions": (
            Field("num_channels", "int", 0),
            Field("num_columns_per_channel", "[int]"),
            Field("embedding_dim_per_channel", "[int]"),
        ),
        "LSHProjectionOptions": (Field("type", "LSHProjectionType", "UNKNOWN"),),
        "SVDFOptions": (
            Field("rank", "int", 0),
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("asymmetric_quantize_inputs", "bool", False),
        ),
        "RNNOptions": (
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("asymmetric_quantize_inputs", "bool", False),
        ),
        "SequenceRNNOptions": (
            Field("time_major", "bool", False),
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("asymmetric_quantize_inputs", "bool", False),
        ),
        "BidirectionalSequenceRNNOptions": (
            Field("time_major", "bool", False),
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("merge_outputs", "bool", False),
            Field("asymmetric_quantize_inputs", "bool", False),
        ),
        "FullyConnectedOptions": (
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("weights_format", "FullyConnectedOptionsWeightsFormat", "DEFAULT"),
            Field("keep_num_dims", "bool", False),
            Field("asymmetric_quantize_inputs", "bool", False),
            Field("quantized_bias_type", "TensorType", "FLOAT32"),
        ),
        "SoftmaxOptions": (Field("beta", "float", 0.0),),
        "ConcatenationOptions": (
            Field("axis", "int", 0),
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
        ),
        "AddOptions": (
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("pot_scale_int16", "bool", True),
        ),
        "MulOptions": (Field("fused_activation_function", "ActivationFunctionType", "NONE"),),
        "L2NormOptions": (Field("fused_activation_function", "ActivationFunctionType", "NONE"),),
        "LocalResponseNormalizationOptions": (
            Field("radius", "int", 0),
            Field("bias", "float", 0.0),
            Field("alpha", "float", 0.0),
            Field("beta", "float", 0.0),
        ),
        "LSTMOptions": (
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("cell_clip", "float", 0.0),
            Field("proj_clip", "float", 0.0),
            Field("kernel_type", "LSTMKernelType", "FULL"),
            Field("asymmetric_quantize_inputs", "bool", False),
        ),
        "UnidirectionalSequenceLSTMOptions": (
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("cell_clip", "float", 0.0),
            Field("proj_clip", "float", 0.0),
            Field("time_major", "bool", False),
            Field("asymmetric_quantize_inputs", "bool", False),
            Field("diagonal_recurrent_tensors", "bool", False),
        ),
        "BidirectionalSequenceLSTMOptions": (
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("cell_clip", "float", 0.0),
            Field("proj_clip", "float", 0.0),
            Field("merge_outputs", "bool", False),
            Field("time_major", "bool", True),
            Field("asymmetric_quantize_inputs", "bool", False),
        ),
        "ResizeBilinearOptions": (
            Field("new_height", "deprecated"),
            Field("new_width", "deprecated"),
            Field("align_corners", "bool", False),
            Field("half_pixel_centers", "bool", False),
        ),
        "ResizeNearestNeighborOptions": (
            Field("align_corners", "bool", False),
            Field("half_pixel_centers", "bool", False),
        ),
        "CallOptions": (Field("subgraph", "uint", 0),),
        "PadOptions": (),
        "PadV2Options": (),
        "ReshapeOptions": (Field("new_shape", "[int]"),),
        "SpaceToBatchNDOptions": (),
        "BatchToSpaceNDOptions": (),
        "SkipGramOptions": (
            Field("ngram_size", "int", 0),
            Field("max_skip_size", "int", 0),
            Field("include_all_ngrams", "bool", False),
        ),
        "SpaceToDepthOptions": (Field("block_size", "int", 0),),
        "DepthToSpaceOptions": (Field("block_size", "int", 0),),
        "SubOptions": (
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("pot_scale_int16", "bool", True),
        ),
        "DivOptions": (Field("fused_activation_function", "ActivationFunctionType", "NONE"),),
        "TopKV2Options": (),
        "EmbeddingLookupSparseOptions": (Field("combiner", "CombinerType", "SUM"),),
        "GatherOptions": (
            Field("axis", "int", 0),
            Field("batch_dims", "int", 0),
        ),
        "TransposeOptions": (),
        "ExpOptions": (),
        "CosOptions": (),
        "ReducerOptions": (Field("keep_dims", "bool", False),),
        "SqueezeOptions": (Field("squeeze_dims", "[int]"),),
        "SplitOptions": (Field("num_splits", "int", 0),),
        "SplitVOptions": (Field("num_splits", "int", 0),),
        "StridedSliceOptions": (
            Field("begin_mask", "int", 0),
            Field("end_mask", "int", 0),
            Field("ellipsis_mask", "int", 0),
            Field("new_axis_mask", "int", 0),
            Field("shrink_axis_mask", "int", 0),
            Field("offset", "bool", False),
        ),
        "LogSoftmaxOptions": (),
        "CastOptions": (
            Field("in_data_type", "TensorType", "FLOAT32"),
            Field("out_data_type", "TensorType", "FLOAT32"),
        ),
        "DequantizeOptions": (),
        "MaximumMinimumOptions": (),
        "TileOptions": (),
        "ArgMaxOptions": (Field("output_type", "TensorType", "FLOAT32"),),
        "ArgMinOptions": (Field("output_type", "TensorType", "FLOAT32"),),
        "GreaterOptions": (),
        "GreaterEqualOptions": (),
        "LessOptions": (),
        "LessEqualOptions": (),
        "NegOptions": (),
        "SelectOptions": (),
        "SliceOptions": (),
        "TransposeConvOptions": (
            Field("padding", "Padding", "SAME"),
            Field("stride_w", "int", 0),
            Field("stride_h", "int", 0),
            Field("fused_activation_function", "ActivationFunctionType", "NONE"),
            Field("quantized_bias_type", "TensorType", "FLOAT32"),
        ),
        "ExpandDimsOptions": (),
        "SparseToDenseOptions": (Field("validate_indices", "bool", False),),
        "EqualOptions": (),
        "NotEqualOptions": (),
        "ShapeOptions": (Field("out_type", "TensorType", "FLOAT32"),),
        "RankOptions": (),
        "PowOptions": (),
        "FakeQuantOptions": (
            Field("min", "float", 0.0),
            Field("max", "float", 0.0),
            Field("num_bits", "int", 0),
            Field("narrow_range", "bool", False),
        ),
        "PackOptions": (
            Field("values_count", "int", 0),
            Field("axis", "int", 0),
        ),
        "LogicalOrOptions": (),
        "OneHotOptions": (Field("axis", "int", 0),),
        "AbsOptions": (),
        "HardSwishOptions": (),
        "LogicalAndOptions": (),
        "LogicalNotOptions": (),
        "UnpackOptions": (
            Field("num", "int", 0),
            Field("axis", "int", 0),
        ),
        "FloorDivOptions": (),
        "SquareOptions": (),
        "ZerosLikeOptions": (),
        "FillOptions": (),
        "FloorModOptions": (),
        "RangeOptions": (),
        "LeakyReluOptions": (Field("alpha", "float", 0.0),),
        "SquaredDifferenceOptions": (),
        "MirrorPadOptions": (Field("mode", "MirrorPadMode", "REFLECT"),),
        "UniqueOptions": (Field("idx_out_type", "TensorType", "INT32"),),
        "ReverseV2Options": (),
        "AddNOptions": (),
        "GatherNdOptions": (),
        "WhereOptions": (),
        "ReverseSequenceOptions": (
            Field("seq_dim", "int", 0),
            Field("batch_dim", "int", 0),
        ),
        "MatrixDiagOptions": (),
        "QuantizeOptions": (),
        "MatrixSetDiagOptions": (),
        "IfOptions": (
            Field("then_subgraph_index", "int", 0),
            Field("else_subgraph_index", "int", 0),
        ),
        "CallOnceOptions": (Field("init_subgraph_index", "int", 0),),
        "WhileOptions": (
            Field("cond_subgraph_index", "int", 0),
            Field("body_subgraph_index", "int", 0),
        ),
        "NonMaxSuppressionV4Options": (),
        "NonMaxSuppressionV5Options": (),
        "ScatterNdOptions": (),
        "SelectV2Options": (),
        "DensifyOptions": (),
        "SegmentSumOptions": (),
        "BatchMatMulOptions": (
            Field("adj_x", "bool", False),
            Field("adj_y", "bool", False),
            Field("asymmetric_quantize_inputs", "bool", False),
        ),
        "CumsumOptions": (
            Field("exclusive", "bool", False),
            Field("reverse", "bool", False),
        ),
        "BroadcastToOptions": (),
        "Rfft2dOptions": (),
        "HashtableOptions": (
            Field("table_id", "int", 0),
            Field("key_dtype", "TensorType", "FLOAT32"),
            Field("value_dtype", "TensorType", "FLOAT32"),
        ),
        "HashtableFindOptions": (),
        "HashtableImportOptions": (),
        "HashtableSizeOptions": (),
        "VarHandleOptions": (
            Field("container", "string"),
            Field("shared_name", "string"),
        ),
        "ReadVariableOptions": (),
        "AssignVariableOptions": (),
        "RandomOptions": (
            Field("seed", "long", 0),
            Field("seed2", "long", 0),
        ),
        "BucketizeOptions": (Field("boundaries", "[float]"),),
        "GeluOptions": (Field("approximate", "bool", False),),
        "DynamicUpdateSliceOptions": (),
        "UnsortedSegmentProdOptions": (),
        "UnsortedSegmentMaxOptions": (),
        "UnsortedSegmentSumOptions": (),
        "ATan2Options": (),
        "UnsortedSegmentMinOptions": (),
        "SignOptions": (),
        "BitcastOptions": (),
        "BitwiseXorOptions": (),
        "RightShiftOptions": (),
        "DilateOptions": (),
        "ReduceWindowOptions": (Field("reduce_function", "ReduceWindowFunction", "UNSUPPORTED"),),
        "OperatorCode": (
            Field("deprecated_builtin_code", "byte", 0),
            Field("custom_code", "string"),
            Field("version", "int", 1),
            Field("builtin_code", "BuiltinOperator", "ADD"),
        ),
        "StableHLOCompositeOptions": (
            Field("name", "string"),
            Field("decomposition_subgraph_index", "int", 0),
            Field("composite_attributes", "blob"),
            Field("composite_attributes_format", "CustomOptionsFormat", "FLEXBUFFERS"),
            Field("version", "int", 0),
        ),
        "StablehloShiftLeftOptions": (),
        "Operator": (
            Field("opcode_index", "uint", 0),
            Field("inputs", "[int]"),
            Field("outputs", "[int]"),
            Field("builtin_options", "BuiltinOptions"),
            Field("custom_options", "blob"),
            Field("custom_options_format", "CustomOptionsFormat", "FLEXBUFFERS"),
            Field("mutating_variable_inputs", "[bool]"),
            Field("intermediates", "[int]"),
            Field("large_custom_options_offset", "ulong", 0),
            Field("large_custom_options_size", "ulong", 0),
            Field("builtin_options_2", "BuiltinOptions2"),
            Field("debug_metadata_index", "int", -1),
        ),
        "SubGraph": (
            Field("tensors", "[Tensor]"),
            Field("inputs", "[int]"),
            Field("outputs", "[int]"),
            Field("operators", "[Operator]"),
            Field("name", "string"),
            Field("debug_metadata_index", "int", -1),
        ),
        "Buffer": (
            Field("data", "blob", align=16),
            Field("offset", "ulong", 0),
            Field("size", "ulong", 0),
        ),
        "ExternalBufferGroup": (Field("name", "string"),),
        "ExternalBuffer": (
            Field("id", "uint", 0),
            Field("group", "uint", 0),
            Field("offset", "ulong", 0),
            Field("length", "ulong", 0),
            Field("packing", "string"),
        ),
        "Metadata": (
            Field("name", "string"),
            Field("buffer", "uint", 0),
        ),
        "TensorMap": (
            Field("name", "string"),
            Field("tensor_index", "uint", 0),
        ),
        "SignatureDef": (
            Field("inputs", "[TensorMap]"),
            Field("outputs", "[TensorMap]"),
            Field("signature_key", "string"),
            Field("deprecated_tag", "deprecated"),
            Field("subgraph_index", "uint", 0),
        ),
        "Model": (
            Field("version", "uint", 0),
            Field("operator_codes", "[OperatorCode]"),
            Field("subgraphs", "[SubGraph]"),
            Field("description", "string"),
            Field("buffers", "[Buffer]"),
            Field("metadata_buffer", "[int]"),
            Field("metadata", "[Metadata]"),
            Field("signature_defs", "[SignatureDef]"),
            Field("external_buffer_groups", "[ExternalBufferGroup]"),
            Field("external_buffers", "[ExternalBuffer]"),
        ),
    }
)

# BuiltinOperator -> the options table that TFLite reads for it. An operator without an entry has no options.
OPTIONS_OF: Mapping[str, str] = MappingProxyType(
    {
        "ADD": "AddOptions",
        "AVERAGE_POOL_2D": "Pool2DOptions",
        "CONCATENATION": "ConcatenationOptions",
        "CONV_2D": "Conv2DOptions",
        "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
        "DEPTH_TO_SPACE": "DepthToSpaceOptions",
        "DEQUANTIZE": "DequantizeOptions",
        "FULLY_CONNECTED": "FullyConnectedOptions",
        "L2_NORMALIZATION": "L2NormOptions",
        "L2_POOL_2D": "Pool2DOptions",
        "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions",
        "LSH_PROJECTION": "LSHProjectionOptions",
        "LSTM": "LSTMOptions",
        "MAX_POOL_2D": "Pool2DOptions",
        "MUL": "MulOptions",
        "RESHAPE": "ReshapeOptions",
        "RESIZE_BILINEAR": "ResizeBilinearOptions",
        "RNN": "RNNOptions",
        "SOFTMAX": "SoftmaxOptions",
        "SPACE_TO_DEPTH": "SpaceToDepthOptions",
        "SVDF": "SVDFOptions",
        "CONCAT_EMBEDDINGS": "ConcatEmbeddingsOptions",
        "SKIP_GRAM": "SkipGramOptions",
        "CALL": "CallOptions",
        "EMBEDDING_LOOKUP_SPARSE": "EmbeddingLookupSparseOptions",
        "PAD": "PadOptions",
        "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
        "GATHER": "GatherOptions",
        "BATCH_TO_SPACE_ND": "BatchToSpaceNDOptions",
        "SPACE_TO_BATCH_ND": "SpaceToBatchNDOptions",
        "TRANSPOSE": "TransposeOptions",
        "MEAN": "ReducerOptions",
        "SUB": "SubOptions",
        "DIV": "DivOptions",
        "SQUEEZE": "SqueezeOptions",
        "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
        "STRIDED_SLICE": "StridedSliceOptions",
        "BIDIRECTIONAL_SEQUENCE_RNN": "BidirectionalSequenceRNNOptions",
        "EXP": "ExpOptions",
        "TOPK_V2": "TopKV2Options",
        "SPLIT": "SplitOptions",
        "LOG_SOFTMAX": "LogSoftmaxOptions",
        "BIDIRECTIONAL_SEQUENCE_LSTM": "BidirectionalSequenceLSTMOptions",
        "CAST": "CastOptions",
        "MAXIMUM": "MaximumMinimumOptions",
        "ARG_MAX": "ArgMaxOptions",
        "MINIMUM": "MaximumMinimumOptions",
        "LESS": "LessOptions",
        "NEG": "NegOptions",
        "PADV2": "PadV2Options",
        "GREATER": "GreaterOptions",
        "GREATER_EQUAL": "GreaterEqualOptions",
        "LESS_EQUAL": "LessEqualOptions",
        "SELECT": "SelectOptions",
        "SLICE": "SliceOptions",
        "TRANSPOSE_CONV": "TransposeConvOptions",
        "SPARSE_TO_DENSE": "SparseToDenseOptions",
        "TILE": "TileOptions",
        "EXPAND_DIMS": "ExpandDimsOptions",
        "EQUAL": "EqualOptions",
        "NOT_EQUAL": "NotEqualOptions",
        "SUM": "ReducerOptions",
        "SHAPE": "ShapeOptions",
        "POW": "PowOptions",
        "ARG_MIN": "ArgMinOptions",
        "FAKE_QUANT": "FakeQuantOptions",
        "REDUCE_PROD": "ReducerOptions",
        "REDUCE_MAX": "ReducerOptions",
        "PACK": "PackOptions",
        "LOGICAL_OR": "LogicalOrOptions",
        "ONE_HOT": "OneHotOptions",
        "LOGICAL_AND": "LogicalAndOptions",
        "LOGICAL_NOT": "LogicalNotOptions",
        "UNPACK": "UnpackOptions",
        "REDUCE_MIN": "ReducerOptions",
        "FLOOR_DIV": "FloorDivOptions",
        "REDUCE_ANY": "ReducerOptions",
        "SQUARE": "SquareOptions",
        "ZEROS_LIKE": "ZerosLikeOptions",
        "FILL": "FillOptions",
        "FLOOR_MOD": "FloorModOptions",
        "RANGE": "RangeOptions",
        "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
        "LEAKY_RELU": "LeakyReluOptions",
        "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
        "MIRROR_PAD": "MirrorPadOptions",
        "ABS": "AbsOptions",
        "SPLIT_V": "SplitVOptions",
        "UNIQUE": "UniqueOptions",
        "REVERSE_V2": "ReverseV2Options",
        "ADD_N": "AddNOptions",
        "GATHER_ND": "GatherNdOptions",
        "COS": "CosOptions",
        "WHERE": "WhereOptions",
        "RANK": "RankOptions",
        "REVERSE_SEQUENCE": "ReverseSequenceOptions",
        "MATRIX_DIAG": "MatrixDiagOptions",
        "QUANTIZE": "QuantizeOptions",
        "MATRIX_SET_DIAG": "MatrixSetDiagOptions",
        "HARD_SWISH": "HardSwishOptions",
        "IF": "IfOptions",
        "WHILE": "WhileOptions",
        "NON_MAX_SUPPRESSION_V4": "NonMaxSuppressionV4Options",
        "NON_MAX_SUPPRESSION_V5": "NonMaxSuppressionV5Options",
        "SCATTER_ND": "ScatterNdOptions",
        "SELECT_V2": "SelectV2Options",
        "DENSIFY": "DensifyOptions",
        "SEGMENT_SUM": "SegmentSumOptions",
        "BATCH_MATMUL": "BatchMatMulOptions",
        "CUMSUM": "CumsumOptions",
        "CALL_ONCE": "CallOnceOptions",
        "BROADCAST_TO": "BroadcastToOptions",
        "RFFT2D": "Rfft2dOptions",
        "CONV_3D": "Conv3DOptions",
        "HASHTABLE": "HashtableOptions",
        "HASHTABLE_FIND": "HashtableFindOptions",
        "HASHTABLE_IMPORT": "HashtableImportOptions",
        "HASHTABLE_SIZE": "HashtableSizeOptions",
        "REDUCE_ALL": "ReducerOptions",
        "CONV_3D_TRANSPOSE": "Conv3DOptions",
        "VAR_HANDLE": "VarHandleOptions",
        "READ_VARIABLE": "ReadVariableOptions",
        "ASSIGN_VARIABLE": "AssignVariableOptions",
        "RANDOM_STANDARD_NORMAL": "RandomOptions",
        "BUCKETIZE": "BucketizeOptions",
        "RANDOM_UNIFORM": "RandomOptions",
        "MULTINOMIAL": "RandomOptions",
        "GELU": "GeluOptions",
        "DYNAMIC_UPDATE_SLICE": "DynamicUpdateSliceOptions",
        "UNSORTED_SEGMENT_PROD": "UnsortedSegmentProdOptions",
        "UNSORTED_SEGMENT_MAX": "UnsortedSegmentMaxOptions",
        "UNSORTED_SEGMENT_SUM": "UnsortedSegmentSumOptions",
        "ATAN2": "ATan2Options",
        "UNSORTED_SEGMENT_MIN": "UnsortedSegmentMinOptions",
        "SIGN": "SignOptions",
        "BITCAST": "BitcastOptions",
        "BITWISE_XOR": "BitwiseXorOptions",
        "RIGHT_SHIFT": "RightShiftOptions",
        "STABLEHLO_CONCATENATE": "StablehloConcatenateOptions",
        "STABLEHLO_BROADCAST_IN_DIM": "StablehloBroadcastInDimOptions",
        "STABLEHLO_CONVOLUTION": "StablehloConvolutionOptions",
        "STABLEHLO_SLICE": "StablehloSliceOptions",
        "STABLEHLO_CUSTOM_CALL": "StablehloCustomCallOptions",
        "STABLEHLO_REDUCE": "StablehloReduceOptions",
        "STABLEHLO_SCATTER": "StablehloScatterOptions",
        "STABLEHLO_COMPARE": "StablehloCompareOptions",
        "STABLEHLO_DYNAMIC_SLICE": "StablehloDynamicSliceOptions",
        "STABLEHLO_PAD": "StablehloPadOptions",
        "STABLEHLO_IOTA": "StablehloIotaOptions",
        "STABLEHLO_DOT_GENERAL": "StablehloDotGeneralOptions",
        "STABLEHLO_REDUCE_WINDOW": "StablehloReduceWindowOptions",
        "STABLEHLO_SORT": "StablehloSortOptions",
        "STABLEHLO_WHILE": "StablehloWhileOptions",
        "STABLEHLO_GATHER": "StablehloGatherOptions",
        "STABLEHLO_TRANSPOSE": "StablehloTransposeOptions",
        "DILATE": "DilateOptions",
        "STABLEHLO_RNG_BIT_GENERATOR": "StablehloRngBitGeneratorOptions",
        "REDUCE_WINDOW": "ReduceWindowOptions",
        "STABLEHLO_COMPOSITE": "StableHLOCompositeOptions",
        "STABLEHLO_SHIFT_LEFT": "StablehloShiftLeftOptions",
        "STABLEHLO_CASE": "StablehloCaseOptions",
    }
)


def slots(fields: tuple[Field, ...]) -> tuple[tuple[int, Field], ...]:
    """(vtable slot, field) of a table's fields. A union's slot holds the member's number; the next one the member."""
    numbered = []
    slot = 0
    for field in fields:
        if field.type != "deprecated":
            numbered.append((slot, field))
        slot += 2 if field.type in UNIONS else 1
    return tuple(numbered)


# Table -> its fields with their slots, and table -> how many slots it has.
SLOTS: Mapping[str, tuple[tuple[int, Field], ...]] = MappingProxyType(
    {name: slots(fields) for name, fields in TABLES.items()}
)
SLOT_COUNT: Mapping[str, int] = MappingProxyType(
    {name: sum(2 if field.type in UNIONS else 1 for field in fields) for name, fields in TABLES.items()}
)


def options_union(table: str) -> str | None:
    """The union that holds the options table: "BuiltinOptions" or "BuiltinOptions2"; None if neither does."""
    for union in ("BuiltinOptions", "BuiltinOptions2"):
        if table in ENUM_VALUES[union]:
            return union
    return None


def default_options(table: str) -> Mapping[str, Any]:
    """Every field of an options table at the schema's default, as `Operator.options` holds them.

    Note: TFLite reads an operator whose options table is absent as all zeros, not as these defaults: zero_options.
    """
    return MappingProxyType({field.name: field.default for _, field in SLOTS[table]})


def zero_options(table: str) -> Mapping[str, Any]:
    """Every field of an options table as zero: what TFLite's kernels see of an operator that has no options table."""

    def zero(field: Field) -> Any:
        if field.type in ENUM_NAMES:
            return ENUM_NAMES[field.type].get(0, 0)
        return None if field.default is None else type(field.default)()

    return MappingProxyType({field.name: zero(field) for _, field in SLOTS[table]})
