//! `#[derive(Module)]`: names a struct's parameters and buffers by its fields, in field order.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields, Index, parse_macro_input, spanned::Spanned};

/// Implements `Module` for a struct (or an enum of layers): every field is visited under its name, in
/// order.
///
/// On a field, `#[module(skip)]` leaves it out, `#[module(rename = "name")]` gives it another name,
/// and `#[module(flatten)]` gives its contents no name of their own. On the struct,
/// `#[module(crate = "path")]` says where the crate is that holds `Module` and `Walk`, for who has
/// renamed it.
///
/// This one is exported by `hadal_nn` and writes `::hadal_nn::Module`.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    derive(input, quote!(::hadal_nn))
}

/// The same derive for who depends on the facade `hadal` alone, which exports it as `Module` too: it
/// writes `::hadal::nn::Module`. Each crate exports the one that names it, so that no derive has to
/// guess from a Cargo.toml.
#[proc_macro_derive(FacadeModule, attributes(module))]
pub fn derive_facade_module(input: TokenStream) -> TokenStream {
    derive(input, quote!(::hadal::nn))
}

fn derive(input: TokenStream, home: proc_macro2::TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match expand(&input, home) {
        Ok(tokens) => tokens.into(),
        Err(e) => e.to_compile_error().into(),
    }
}

/// The crate named by the struct's `#[module(crate = "path")]`, or the default.
fn home_of(input: &DeriveInput, default: proc_macro2::TokenStream) -> syn::Result<proc_macro2::TokenStream> {
    let mut home = default;
    for attr in input.attrs.iter().filter(|a| a.path().is_ident("module")) {
        attr.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected crate = \"path\"; skip, flatten and rename go on fields"));
            }
            let path: syn::LitStr = meta.value()?.parse()?;
            let path: syn::Path = path.parse()?;
            home = quote!(#path);
            Ok(())
        })?;
    }
    Ok(home)
}

struct Options {
    skip: bool,
    flatten: bool,
    rename: Option<String>,
}

fn options(field: &syn::Field) -> syn::Result<Options> {
    let mut o = Options { skip: false, flatten: false, rename: None };
    for attr in field.attrs.iter().filter(|a| a.path().is_ident("module")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                o.skip = true;
                Ok(())
            } else if meta.path.is_ident("flatten") {
                o.flatten = true;
                Ok(())
            } else if meta.path.is_ident("rename") {
                let name: syn::LitStr = meta.value()?.parse()?;
                o.rename = Some(name.value());
                Ok(())
            } else {
                Err(meta.error("expected skip, flatten or rename = \"name\""))
            }
        })?;
    }
    Ok(o)
}

fn visit_fields(
    home: &proc_macro2::TokenStream,
    fields: &Fields,
    access: impl Fn(&syn::Field, usize) -> proc_macro2::TokenStream,
) -> syn::Result<Vec<proc_macro2::TokenStream>> {
    let mut visits = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let o = options(field)?;
        if o.skip {
            continue;
        }
        let place = access(field, i);
        if o.flatten {
            visits.push(quote! { #home::Module::visit(#place, walk); });
            continue;
        }
        // Tuple fields are numbered, as PyTorch's Sequential numbers its layers.
        let name = match (o.rename, &field.ident) {
            (Some(name), _) => name,
            (None, Some(ident)) => ident.to_string().trim_start_matches("r#").to_owned(),
            (None, None) => i.to_string(),
        };
        visits.push(quote! { walk.field(#name, #place); });
    }
    Ok(visits)
}

/// Whether a visited field's type names this type parameter.
fn holds_layer(data: &Data, parameter: &syn::Ident) -> syn::Result<bool> {
    let fields: Vec<&syn::Field> = match data {
        Data::Struct(s) => s.fields.iter().collect(),
        Data::Enum(e) => e.variants.iter().flat_map(|v| v.fields.iter()).collect(),
        Data::Union(_) => Vec::new(),
    };
    for field in fields {
        let ty = &field.ty;
        if !options(field)?.skip && mentions(quote!(#ty), parameter) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn mentions(tokens: proc_macro2::TokenStream, name: &syn::Ident) -> bool {
    tokens.into_iter().any(|t| match t {
        proc_macro2::TokenTree::Ident(i) => i == *name,
        proc_macro2::TokenTree::Group(g) => mentions(g.stream(), name),
        _ => false,
    })
}

fn expand(input: &DeriveInput, home: proc_macro2::TokenStream) -> syn::Result<proc_macro2::TokenStream> {
    let home = home_of(input, home)?;
    let name = &input.ident;
    // Type parameters are layers, as in `struct Residual<L> { body: L }`, unless only skipped fields
    // hold them.
    let mut generics = input.generics.clone();
    for parameter in input.generics.type_params() {
        if holds_layer(&input.data, &parameter.ident)? {
            let ident = &parameter.ident;
            generics.make_where_clause().predicates.push(syn::parse_quote!(#ident: #home::Module));
        }
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let body = match &input.data {
        Data::Struct(s) => {
            let visits = visit_fields(&home, &s.fields, |field, i| match &field.ident {
                Some(ident) => quote!(&self.#ident),
                None => {
                    let index = Index { index: i as u32, span: field.span() };
                    quote!(&self.#index)
                }
            })?;
            quote! { #(#visits)* }
        }
        Data::Enum(e) => {
            let mut arms = Vec::new();
            for v in &e.variants {
                let variant = &v.ident;
                let names: Vec<_> =
                    (0..v.fields.len()).map(|i| quote::format_ident!("field_{}", i)).collect();
                // A variant's only unnamed field is the layer itself: it needs no name of its own.
                let visits = match &v.fields {
                    Fields::Unnamed(f) if f.unnamed.len() == 1 && !options(&f.unnamed[0])?.skip => {
                        vec![quote! { #home::Module::visit(field_0, walk); }]
                    }
                    fields => visit_fields(&home, fields, |_, i| {
                        let n = &names[i];
                        quote!(#n)
                    })?,
                };
                let pattern = match &v.fields {
                    Fields::Unit => quote!(Self::#variant),
                    Fields::Unnamed(_) => quote!(Self::#variant(#(#names),*)),
                    Fields::Named(f) => {
                        let idents: Vec<_> = f.named.iter().map(|f| &f.ident).collect();
                        quote!(Self::#variant { #(#idents: #names),* })
                    }
                };
                arms.push(quote! { #[allow(unused_variables)] #pattern => { #(#visits)* } });
            }
            quote! { match self { #(#arms)* } }
        }
        Data::Union(_) => return Err(syn::Error::new(name.span(), "a union cannot be a Module")),
    };
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #home::Module for #name #type_generics #where_clause {
            fn visit(&self, walk: &mut #home::Walk<'_>) {
                #[allow(unused_variables)]
                let walk = walk;
                #body
            }
        }
    })
}
